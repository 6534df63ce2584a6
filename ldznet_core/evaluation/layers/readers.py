"""What a probe of layers reads: the blocks of UNets, the latents themselves, the VAE's encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...capture import capturing
from ...noise import NoiseSchedule
from ...taps import find_taps
from ...unet import UNet
from .scenes import Rows

ALL_BLOCKS = range(1, 17)

Source: TypeAlias = Literal["unet", "untrained", "latents", "encoder", "truth"]
"""The UNet, one that learned nothing, the latents as noisy as they were, the VAE, the truth."""

WITHOUT_TIMESTEP: tuple[Source, ...] = ("encoder", "truth")

LEVELS = range(4)
"""Of a UNet: each has half the sides of the one before, from the latents' own on."""

Key: TypeAlias = tuple[Source, int | None]
"""A source and, of a UNet, the block."""

Features: TypeAlias = Mapping[Key, Tensor]
"""``(B, C, h, w)`` of each layer."""

Reader: TypeAlias = Callable[[Rows, int], Features]
"""Gives the features of rows at a timestep."""


def read_unet(unet: nn.Module, source: Source, schedule: NoiseSchedule) -> Reader:
    """Reads the transformers of a UNet that is told each scene's caption."""
    taps = find_taps(unet, ALL_BLOCKS)

    def read(rows: Rows, timestep: int) -> Features:
        noisy = schedule.add_noise(rows.latents, rows.noises, timestep)
        with capturing(unet, taps, stop_after_last=True) as capture:
            unet(noisy, noisy.new_full((len(noisy),), float(timestep)), rows.contexts)
        return {(source, block): features for block, features in capture.blocks.items()}

    return read


def read_latents(schedule: NoiseSchedule) -> Reader:
    """Reads the noisy latents themselves."""
    return lambda rows, timestep: {
        ("latents", None): schedule.add_noise(rows.latents, rows.noises, timestep)
    }


def read_encoder(rows: Rows, timestep: int) -> Features:
    """The last features of the VAE's encoder, which are the same at every timestep."""
    return {("encoder", None): rows.encoded}


def read_truth(level: int) -> Reader:
    """Reads the truth itself on the grid of a level: what no finer grid is needed for."""

    def read(rows: Rows, timestep: int) -> Features:
        side = rows.latents.shape[-1] >> level
        return {("truth", None): F.adaptive_avg_pool2d(rows.truths.float(), side)}

    return read


def untrained(unet: UNet, seed: int) -> UNet:
    """A UNet of the same sizes with random weights, those too that training begins with at 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = UNet(unet.config)
        for module in drawn.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.reset_parameters()
    device = next(unet.parameters()).device
    return drawn.to(device).eval().requires_grad_(False)
