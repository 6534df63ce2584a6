"""The miniature's VAE: diffusers' AutoencoderKL, small, with latents scaled to a deviation of 1."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ..sizes import whole
from .parts import filled, load_part, part_read, save_part

_WIDEST, _MOST_LEVELS = 8192, 8  # beyond which a configuration is taken for damaged


def build_vae(channels: tuple[int, ...], image_side: int) -> AutoencoderKL:
    """A fresh VAE for square pictures, with channels by level; each is a multiple of 32."""
    levels = len(channels)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=4,
        sample_size=image_side,
        scaling_factor=1.0,
    )


def save_vae(vae: AutoencoderKL, path: Path, provenance: str) -> None:
    """Write the VAE in half precision; its scaling factor goes with it."""
    config = {
        "channels": list(vae.config.block_out_channels),
        "image_side": vae.config.sample_size,
        "scaling_factor": vae.config.scaling_factor,
    }
    save_part(vae.state_dict(), path, config, provenance)


def load_vae(path: Path) -> AutoencoderKL:
    """The VAE of a file that `save_vae` wrote, in float32 and eval mode.

    Raises:
        CheckpointError: The file is missing, damaged, or of something else.
    """
    state, config = load_part(path)
    with part_read(path):
        channels = tuple(whole(each, _WIDEST) for each in config["channels"])
        side = whole(config["image_side"], _WIDEST)
        scaling_factor = float(config["scaling_factor"])
        if len(channels) > _MOST_LEVELS or not 0 < scaling_factor < math.inf:
            raise ValueError(f"{len(channels)} levels and the scale {scaling_factor}")
    vae = filled(lambda: build_vae(channels, side), state, path)
    vae.register_to_config(scaling_factor=scaling_factor)
    return vae


def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """``(B, 3, H, W)`` RGB in [-1, 1] as the posterior's mode, scaled: ``(B, 4, H/8, W/8)``."""
    latents: Tensor = vae.encode(images).latent_dist.mode() * vae.config.scaling_factor
    return latents


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents ``(B, 4, h, w)`` as ``(B, 3, 8h, 8w)`` RGB in [-1, 1]."""
    images: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    return images.clamp(-1, 1)


@torch.inference_mode()
def measure_scale(vae: AutoencoderKL, images: Tensor) -> float:
    """The factor that brings the latents of ``(B, 3, H, W)`` pictures to a deviation of 1."""
    return 1.0 / float(vae.encode(images).latent_dist.mode().std())
