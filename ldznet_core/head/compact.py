"""Our own head: a small decoder over the LDM's features, guided by the latents; no second UNet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..capture import Features, blocks_of
from ..checks import one_or
from ..errors import InputError
from ..frames import STRIDE, pad_to, pad_to_multiple
from ..taps import Taps
from ..unet import recomputed
from .compact_layers import (
    LAYERS_OF_DOUBLING,
    FeatureReader,
    PhraseBlock,
    Presence,
    Residual,
    unfolding,
)
from .config import HeadConfig, block_sizes
from .inputs import check_context, check_feature, check_latents

LEVELS = 3
"""Grids that it works on: that of the latents, and two of half the sides each."""

_MULTIPLE = 2 ** (LEVELS - 1)


class Pixels(NamedTuple):
    """What a picture shows, whatever will be asked: a map for each level, the finest first."""

    levels: tuple[Tensor, ...]
    """``(S, W_l, h / 2^l, w / 2^l)``."""


class CompactHead(nn.Module):
    """Reads latents and features once for a picture, and then each phrase against them.

    Features are projected and added on the grid of their own level. On the way back up pixels look
    at the phrase's tokens on every grid, and at each other on the coarser two. The finest map,
    which has seen the latents themselves, is unfolded to picture size. A presence of the whole
    picture bounds every pixel, so that what is absent has an empty mask and a low score.
    """

    _recomputes = False

    def __init__(self, config: HeadConfig) -> None:
        """Build with fresh weights, which say nothing: logits need training."""
        super().__init__()
        self.config = config
        widths, deepest = config.widths, config.widths[-1]
        self.stem = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        sizes = block_sizes(config.unet)
        self._downscales = {block: sizes[block].downscale for block in config.taps}
        self.readers = nn.ModuleDict(
            {
                str(block): FeatureReader(sizes[block].channels, widths[_level_of(downscale)])
                for block, downscale in self._downscales.items()
            }
        )
        self.residuals = nn.ModuleList(Residual(width) for width in widths)
        self.text = nn.Sequential(
            nn.LayerNorm(config.unet.context_dim), nn.Linear(config.unet.context_dim, deepest)
        )
        self.phrase_blocks = nn.ModuleList(
            PhraseBlock(width, deepest, sees_others=level > 0) for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(coarse, fine, 3, padding=1) for fine, coarse in pairwise(widths)
        )
        self.presence = Presence(widths[1], deepest)
        self.unfold = unfolding(widths[0])

    def recompute(self, *, is_on: bool = True) -> None:
        """Train in less memory and more time: see `unet.recomputed`."""
        self._recomputes = is_on

    def taps_of(self, unet: nn.Module) -> Taps:
        """Where in a UNet it wants to listen; nowhere, if it reads no features."""
        return self.config.taps_of(unet)

    def forward(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits for each phrase, ``(P, 1, 8h, 8w)``; above 0 the thing is likelier than not.

        Inputs follow the head to its device and dtype. Where there are S rows of latents and of
        features and P phrases, each row is for P / S phrases in a row. Latents of any size will do.

        Args:
            latents: ``(S, C, h, w)``, clean, scaled as for the LDM.
            context: ``(P, T, D)`` text features of the phrases.
            features: The LDM's by block number, ``(S, C, ~h/d, ~w/d)`` or one row for all, where d
                is what the LDM's UNet has shrunk them by.

        Raises:
            InputError: A shape does not fit the head, or a tap's features are missing.
        """
        mask, presence = self.parts(latents, context, features)
        return bounded(mask, presence)

    def parts(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits of the pixels ``(P, 1, 8h, 8w)`` and of the presence ``(P,)``, for training."""
        given = blocks_of(features)
        read = {block: given[block] for block in self.config.taps if block in given}
        self._check(latents, context, read)
        height, width = latents.shape[-2:]
        pixels = self.look(latents, read)
        mask, presence = self.find(pixels, context.to(self._weight))
        return mask[..., : STRIDE * height, : STRIDE * width], presence

    def look(self, latents: Tensor, features: Mapping[int, Tensor]) -> Pixels:
        """Read pictures, before any phrase is known.

        Args:
            latents: ``(S, C, h, w)``, or one row for all.
            features: By block number, likewise.
        """
        size = (latents.shape[-2], latents.shape[-1])
        x = self.stem(pad_to_multiple(latents.to(self._weight), _MULTIPLE))
        x = x.expand(max([len(x), *map(len, features.values())]), -1, -1, -1)
        levels = []
        for level, residual in enumerate(self.residuals):
            if level:
                x = self.down[level - 1](x)
            x = self._run(residual, x + self._read(features, level, x, size))
            levels.append(x)
        return Pixels(tuple(levels))

    def find(self, pixels: Pixels, context: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of padded pictures, ``(P, 1, 8h', 8w')``, and of the presences, ``(P,)``.

        Args:
            pixels: Of S pictures.
            context: ``(P, T, D)``; P is a multiple of S.
        """
        tokens = self.text(context)
        each = len(context) // len(pixels.levels[0])
        levels = [level.repeat_interleave(each, dim=0) for level in pixels.levels]
        x = self._run(self.phrase_blocks[-1], levels[-1], tokens)
        for level in reversed(range(LEVELS - 1)):
            enlarged = F.interpolate(x, levels[level].shape[-2:], mode="nearest")
            x = levels[level] + self.up[level](enlarged)
            x = self._run(self.phrase_blocks[level], x, tokens)
            if level == 1:
                presence = self.presence(x, tokens)
        return self._unfold(x), presence

    @property
    def _weight(self) -> Tensor:
        """A weight, for the device and the dtype of all."""
        return self.stem.weight

    def _run(self, layer: nn.Module, *inputs: Tensor) -> Tensor:
        given: Tensor = recomputed(layer, *inputs) if self._recomputes else layer(*inputs)
        return given

    def _unfold(self, x: Tensor) -> Tensor:
        """`unfold`; doubling by doubling, if that saves memory."""
        if not self._recomputes:
            return self.unfold(x)  # type: ignore[no-any-return]  # a Sequential of layers
        for start in range(0, len(self.unfold), LAYERS_OF_DOUBLING):
            x = self._run(self.unfold[start : start + LAYERS_OF_DOUBLING], x)
        return x

    def _read(
        self, features: Mapping[int, Tensor], level: int, x: Tensor, size: tuple[int, int]
    ) -> Tensor | float:
        """The sum of what the features of a level say, on its grid."""
        total: Tensor | float = 0.0
        for block, downscale in self._downscales.items():
            if _level_of(downscale) != level:
                continue
            if block not in features:
                raise InputError(
                    f"expected features of blocks {list(self.config.taps)}, got none of block "
                    f"{block}: capture it too"
                )
            check_feature(self.config, block, features[block], size)
            read = self.readers[str(block)](features[block].to(self._weight))
            if downscale > 2**level:
                read = F.interpolate(read, scale_factor=downscale / 2**level, mode="bilinear")
            height, width = x.shape[-2:]  # a probe's frame may be larger, a sampler's smaller
            total = total + pad_to(read[..., :height, :width], height, width)
        return total

    def _check(self, latents: Tensor, context: Tensor, features: Mapping[int, Tensor]) -> None:
        check_context(self.config, context)
        phrases = len(context)
        check_latents(self.config, latents, phrases, shares_rows=True)
        maps = (each for each in features.values() if each.ndim == 4)  # others are refused by shape
        rows = {len(each) for each in (latents, *maps)} - {1}
        if len(rows) > 1 or any(not each or phrases % each for each in rows):
            raise InputError(
                f"expected features and latents of {one_or(phrases)} rows, got {sorted(rows)}: "
                "give one row for the picture, or one for each phrase"
            )


def bounded(mask: Tensor, presence: Tensor) -> Tensor:
    """The lower of a pixel's logit and its phrase's presence, without a corner between them."""
    lower: Tensor = -torch.logaddexp(-mask, -presence[:, None, None, None])
    return lower


def _level_of(downscale: int) -> int:
    return min(LEVELS - 1, int(math.log2(downscale)))
