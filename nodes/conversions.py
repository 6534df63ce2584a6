"""Between ComfyUI's IMAGE, MASK and LATENT and what the core takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..ldznet_core import InputError


def latents_of(samples: Mapping[str, Any]) -> list[Tensor]:
    """The pictures of a LATENT, each ``(1, C, h, w)``, as the VAE made them.

    Raises:
        InputError: It is of no pictures, but of video, sound or several things at once.
    """
    latents = samples["samples"]
    if not isinstance(latents, Tensor) or latents.ndim != 4 or 0 in latents.shape:
        shape = tuple(getattr(latents, "shape", ()))
        raise InputError(
            f"expected a LATENT of pictures, (B, C, h, w), got {type(latents).__name__} {shape}: "
            "connect the latent of an SD 1.x sampler"
        )
    return [latents[index : index + 1] for index in range(len(latents))]


def pictures_of(image: Tensor) -> list[Tensor]:
    """The pictures of an IMAGE ``(B, H, W, C)`` in [0, 1], each ``(1, 3, H, W)`` in [-1, 1].

    Raises:
        InputError: It holds no picture.
    """
    if image.ndim != 4 or 0 in image.shape:
        raise InputError(
            f"expected an IMAGE (B, H, W, 3) with pixels, got {tuple(image.shape)}: "
            "connect a picture"
        )
    channels_first = image[..., :3].movedim(-1, 1)  # BHWC -> BCHW; alpha is left out
    pixels = channels_first.clamp(0, 1) * 2 - 1
    return [pixels[index : index + 1] for index in range(len(pixels))]


def masks_of(mask: Tensor) -> list[Tensor]:
    """The masks ``(H, W)`` of a MASK ``(B, H, W)``; some nodes give ``(H, W)`` for a single one.

    Raises:
        InputError: It holds no mask.
    """
    if mask.ndim < 2 or 0 in mask.shape:
        raise InputError(
            f"expected a MASK (B, H, W) with pixels, got {tuple(mask.shape)}: connect a mask"
        )
    return list(mask.reshape(-1, *mask.shape[-2:]))


def to_batch(maps: list[Tensor]) -> Tensor:
    """Maps ``(H, W)`` or ``(H, W, 3)`` of equal size as a MASK or an IMAGE, on the CPU."""
    return torch.stack([each.detach().float().cpu() for each in maps])
