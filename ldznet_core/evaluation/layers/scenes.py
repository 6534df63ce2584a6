"""Scenes as a probe of layers wants them: latents, captions, noises, truths on a coarse grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ...capture import capturing
from ...miniature import Miniature
from ...taps import Tap
from ...training.randomness import generator_for
from ...world import Scene, caption, draw_layout, mask_of, render, thing_names

GRID = 32
"""Cells along a side of the grid on which every layer is judged."""

FOREGROUND = 0
"""The target that is any thing; the others are the world's classes of things, in their order."""

_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some scenes under one of their noises."""

    latents: Tensor
    """``(B, 4, h, w)``, clean."""
    contexts: Tensor
    """``(B, T, D)``, of each scene's caption."""
    noises: Tensor
    """``(B, 4, h, w)``, of variance 1."""
    encoded: Tensor
    """``(B, C, h, w)``: what the VAE's encoder makes its latents from."""
    truths: Tensor
    """``(B, K, GRID, GRID)`` bool: the foreground, then each class of things."""
    noise: int
    """The noise's number."""


@dataclass(frozen=True, slots=True, eq=False)
class ProbeScenes:
    """The first scenes of a split; about 120 KB each at 128 pixels."""

    latents: Tensor
    contexts: Tensor
    noises: Tensor
    """``(R, N, 4, h, w)``: R for each scene, the same at every timestep and for every layer."""
    encoded: Tensor
    truths: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def batches(self, scenes: range) -> Iterator[Rows]:
        """These scenes under each of their noises, some at once."""
        for noise in range(len(self.noises)):
            for start in range(scenes.start, scenes.stop, _BATCH):
                some = slice(start, min(start + _BATCH, scenes.stop))
                yield Rows(
                    self.latents[some],
                    self.contexts[some],
                    self.noises[noise, some],
                    self.encoded[some],
                    self.truths[some],
                    noise,
                )


def load_scenes(
    miniature: Miniature, world: str, split: str, indices: Iterable[int], noises: int, seed: int
) -> ProbeScenes:
    """Draw scenes of a split and encode them with their plain captions.

    Args:
        miniature: What encodes.
        world: The world's name.
        split: The split's name.
        indices: The scenes' numbers in the split.
        noises: How many each has.
        seed: Of the noises.
    """
    encoder: nn.Module = miniature.vae.encoder
    taps = {"encoder": Tap("conv_act", encoder.get_submodule("conv_act"))}
    latents, contexts, encoded, truths = [], [], [], []
    for index in indices:
        scene = render(draw_layout(world, split, index), miniature.image_side)
        with capturing(encoder, taps) as capture:
            latents.append(miniature.encode_image(Image.fromarray(scene.image)))
        contexts.append(miniature.encode_text([caption(scene.layout, plain=True)]))
        encoded.append(capture["encoder"])
        truths.append(truths_of(scene))
    clean = torch.cat(latents)
    generator = generator_for("layer probe", seed, world, split)
    drawn = torch.randn((noises, *clean.shape), generator=generator).to(clean)
    return ProbeScenes(
        clean, torch.cat(contexts), drawn, torch.cat(encoded), torch.stack(truths).to(clean.device)
    )


def truths_of(scene: Scene) -> Tensor:
    """``(K, GRID, GRID)`` bool: cells at least half of which show any thing, or one of a class."""
    regions = list(enumerate(scene.regions))
    things = [index for index, region in regions if region.kind == "thing"]
    named = [
        [index for index in things if scene.regions[index].name == name]
        for name in thing_names(scene.layout.world)
    ]
    masks = np.stack([mask_of(scene.labels, which) for which in (things, *named)])
    return F.adaptive_avg_pool2d(torch.from_numpy(masks).float(), GRID) >= 0.5
