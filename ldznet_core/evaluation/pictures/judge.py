"""An independent judge of generated pictures: a classifier that has seen composed scenes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from ...training.cache import SceneCache, to_unit_range
from ...training.randomness import generator_for
from ...world import thing_names

_WIDTHS = (24, 48, 96, 128)
_PEAK_RATE = 3e-3


@dataclass(frozen=True, slots=True)
class Judge:
    """Names the things in pictures; it never saw a generated one."""

    names: tuple[str, ...]
    network: nn.Module
    accuracy: float
    """On held-out scenes with one thing: how often the thing named is the right one."""

    @torch.inference_mode()
    def best_name(self, picture: Image.Image) -> str:
        """The thing that the picture most likely shows."""
        logits = self.network(to_unit_range(np.asarray(picture)[None]))[0]
        return self.names[int(logits.argmax())]


def train_judge(
    scenes: SceneCache, held_out: SceneCache, *, steps: int = 500, batch: int = 32
) -> Judge:
    """A judge trained on real composed scenes, the same for the same arguments."""
    names = thing_names(scenes.world)
    torch.manual_seed(0)
    network, truths = _network(len(names)), _truths(scenes, names)

    def loss(logits: Tensor, chosen: list[int]) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, truths[chosen])

    teach(network, scenes, loss, "judge", steps=steps, batch=batch, weight_decay=0.05)
    return Judge(names, network, _accuracy(network, held_out, names))


def teach(
    network: nn.Module,
    scenes: SceneCache,
    loss_of: Callable[[Tensor, list[int]], Tensor],
    name: str,
    *,
    steps: int,
    batch: int,
    weight_decay: float,
) -> None:
    """Train a judge on real composed scenes, distorted; afterwards it is in eval mode.

    Args:
        network: From ``(B, 3, S, S)`` RGB in [-1, 1] to logits.
        scenes: To learn from.
        loss_of: Of the logits of the scenes with these numbers.
        name: Of the draws of scenes, and of the progress bar.
        steps: Of the optimiser.
        batch: Scenes a step.
        weight_decay: AdamW's.
    """
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, steps)
    images, generator = scenes.images(), generator_for(name)
    network.train()
    for _ in tqdm(range(steps), desc=name, unit="step", leave=False):
        drawn = torch.randint(0, scenes.count, (batch,), generator=generator)
        chosen = sorted(drawn.tolist())
        seen = _distorted(to_unit_range(images[chosen]), generator)
        loss = loss_of(network(seen), chosen)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    network.eval()


def _network(classes: int) -> nn.Module:
    """Strided convolutions and a maximum over places: a thing may stand anywhere."""
    layers: list[nn.Module] = []
    channels = 3
    for width in _WIDTHS:
        layers += [
            nn.Conv2d(channels, width, 5, stride=2, padding=2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


def _truths(scenes: SceneCache, names: Sequence[str]) -> Tensor:
    """``(N, names)``: which things stand in each scene."""
    present = [{thing.name for thing in scenes.layout(i).things} for i in range(scenes.count)]
    return torch.tensor([[float(name in each) for name in names] for each in present])


def _distorted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blurred by halving, noisy and shifted in light, so that fine detail is no crutch."""
    count = len(images)
    soft = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear")
    share = torch.rand((count, 1, 1, 1), generator=generator)
    light = 0.2 * torch.randn((count, 3, 1, 1), generator=generator)
    grain = 0.1 * torch.randn(images.shape, generator=generator)
    return share * images + (1 - share) * soft + light + grain


@torch.inference_mode()
def _accuracy(network: nn.Module, held_out: SceneCache, names: Sequence[str]) -> float:
    layouts = [held_out.layout(index) for index in range(held_out.count)]
    single = [index for index, layout in enumerate(layouts) if len(layout.things) == 1]
    logits = network(to_unit_range(held_out.images()[single]))
    named = [names[choice] for choice in logits.argmax(dim=1).tolist()]
    right = [layouts[i].things[0].name == name for i, name in zip(single, named, strict=True)]
    return float(np.mean(right))
