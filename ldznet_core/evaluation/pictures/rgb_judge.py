"""A second judge of generated pictures: a plain RGB segmenter that has seen composed scenes only.

It knows no phrase, no latents and no diffusion model, so where it agrees with a head's masks, the
head did not merely see what its own UNet meant to paint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ...training.cache import SceneCache, to_unit_range
from ...world import background_names, regions_of, thing_names
from ...world.backgrounds import background_named
from ...world.objects import thing_named
from .judge import teach

_WIDTHS = (24, 48, 96, 128)

Sort = tuple[str, str | None]
"""What a pixel can be: a thing with its colour, or stuff, which has none."""


@dataclass(frozen=True, slots=True)
class RGBJudge:
    """Says what each pixel of a picture shows; it never saw a generated one."""

    sorts: tuple[Sort, ...]
    network: nn.Module
    accuracy: float
    """On held-out scenes: the share of pixels that it names rightly."""

    @torch.inference_mode()
    def look(self, picture: Image.Image) -> NDArray[np.intp]:
        """The index into `sorts` of every pixel ``(H, W)``; the sides are multiples of 16."""
        logits = self.network(to_unit_range(np.asarray(picture)[None]))[0]
        return np.asarray(logits.argmax(dim=0))

    def mask(self, seen: NDArray[np.intp], name: str, colour: str | None) -> NDArray[np.bool_]:
        """Where a thing is, of this colour, or of any if that is None; ``(H, W)``."""
        wanted = [
            index
            for index, sort in enumerate(self.sorts)
            if sort[0] == name and colour in (None, sort[1])
        ]
        return np.isin(seen, wanted)


def sorts_of(world: str) -> tuple[Sort, ...]:
    """All that a pixel of the world can be, in a fixed order."""
    things: list[Sort] = [
        (name, colour)
        for name in thing_names(world)
        for colour in thing_named(name).colours or (None,)
    ]
    nouns = {noun for name in background_names(world) for noun in background_named(name).stuff}
    return (*things, *((noun, None) for noun in sorted(nouns)))


def train_rgb_judge(
    scenes: SceneCache, held_out: SceneCache, *, steps: int = 1500, batch: int = 16
) -> RGBJudge:
    """A judge trained on real composed scenes, the same for the same arguments.

    Args:
        scenes: To learn from.
        held_out: To measure its accuracy on.
        steps: Of the optimiser.
        batch: Scenes a step.
    """
    sorts = sorts_of(scenes.world)
    torch.manual_seed(0)
    network = _Network(len(sorts))
    labels = scenes.labels()

    def loss(logits: Tensor, chosen: list[int]) -> Tensor:
        truths = [_truth(scenes, index, labels[index], sorts) for index in chosen]
        return F.cross_entropy(logits, torch.stack(truths))

    teach(network, scenes, loss, "rgb judge", steps=steps, batch=batch, weight_decay=0.01)
    return RGBJudge(sorts, network, _accuracy(network, held_out, sorts))


class _Network(nn.Module):
    """Strided convolutions down, and up again beside skips; it answers at half the side."""

    def __init__(self, sorts: int) -> None:
        super().__init__()
        channels = (3, *_WIDTHS)
        self.down = nn.ModuleList(
            _layer(fine, coarse, stride=2) for fine, coarse in pairwise(channels)
        )
        self.wide = _layer(_WIDTHS[-1], _WIDTHS[-1], dilation=2)
        self.up = nn.ModuleList(_layer(coarse + fine, fine) for fine, coarse in pairwise(_WIDTHS))
        self.last = nn.Conv2d(_WIDTHS[0], sorts, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, sorts, H, W)`` of RGB ``(B, 3, H, W)`` in [-1, 1]."""
        x, skips = images, []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = self.wide(skips.pop())
        for layer in reversed(self.up):
            skip = skips.pop()
            enlarged = F.interpolate(x, skip.shape[-2:], mode="nearest")
            x = layer(torch.cat([enlarged, skip], dim=1))
        return F.interpolate(self.last(x), images.shape[-2:], mode="bilinear")


def _layer(fine: int, coarse: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(fine, coarse, 3, stride=stride, padding=dilation, dilation=dilation),
        nn.BatchNorm2d(coarse),
        nn.ReLU(),
        nn.Conv2d(coarse, coarse, 3, padding=1),
        nn.BatchNorm2d(coarse),
        nn.ReLU(),
    )


def _truth(
    scenes: SceneCache, index: int, labels: NDArray[np.uint8], sorts: Sequence[Sort]
) -> Tensor:
    """The sort ``(H, W)`` of each pixel of a scene."""
    regions = regions_of(scenes.layout(index))
    table = np.asarray([sorts.index((region.name, region.colour)) for region in regions])
    return torch.from_numpy(table[labels])


@torch.inference_mode()
def _accuracy(network: nn.Module, held_out: SceneCache, sorts: Sequence[Sort]) -> float:
    images, labels = held_out.images(), held_out.labels()
    right = []
    for index in range(held_out.count):
        logits = network(to_unit_range(images[index][None]))[0]
        truth = _truth(held_out, index, labels[index], sorts)
        right.append((logits.argmax(dim=0) == truth).float().mean().item())
    return float(np.mean(right))
