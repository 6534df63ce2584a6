"""What heads are called with, checked against their configuration before they compute."""

from __future__ import annotations

import math

from torch import Tensor

from ..checks import one_or
from ..errors import InputError
from ..frames import padded_side
from .config import HeadConfig, block_sizes


def check_context(config: HeadConfig, context: Tensor) -> None:
    """Refuse what are no text features of the family.

    Args:
        config: Of the head.
        context: To be ``(P, T, D)``.

    Raises:
        InputError: It is of another shape, or of no phrase.
    """
    width = config.unet.context_dim
    if context.ndim != 3 or context.shape[2] != width or 0 in context.shape:
        raise InputError(
            f"expected text features (P, T, {width}), got {tuple(context.shape)}: "
            f"encode the phrases with the text encoder of {config.family!r}"
        )


def check_latents(
    config: HeadConfig, latents: Tensor, phrases: int, *, shares_rows: bool = False
) -> None:
    """Refuse what are no latents of the family.

    Args:
        config: Of the head.
        latents: To be ``(1 or P, C, h, w)``.
        phrases: P.
        shares_rows: Whether a row may be for some of the phrases, and not only for one or all.

    Raises:
        InputError: They are of another shape, or there are too many or too few of them.
    """
    is_map = latents.ndim == 4 and latents.shape[1] == config.in_channels
    fits = is_map and 0 not in latents.shape and phrases % len(latents) == 0
    if not fits or not (shares_rows or len(latents) in (1, phrases)):
        raise InputError(
            f"expected latents ({one_or(phrases)}, {config.in_channels}, h, w), got "
            f"{tuple(latents.shape)}: take them from the VAE of {config.family!r}"
        )


def check_feature(
    config: HeadConfig,
    block: int,
    feature: Tensor,
    latent_size: tuple[int, int],
    rows: tuple[int, ...] = (),
) -> tuple[int, int]:
    """Refuse what did not come out of a block for such latents; a probe pads them, samplers do not.

    Args:
        config: Of the head.
        block: Its number.
        feature: To be ``(S, C, ~h/d, ~w/d)``, where d is what the UNet has shrunk it by.
        latent_size: (h, w).
        rows: What S may be; empty for any.

    Returns:
        (height, width) of the block in the frame of the padded latents.

    Raises:
        InputError: It is of another shape.
    """
    sizes, stride = block_sizes(config.unet)[block], config.unet.stride
    smallest = [math.ceil(side / sizes.downscale) for side in latent_size]
    height, width = (padded_side(side, stride) // sizes.downscale for side in latent_size)
    fits = feature.ndim == 4 and feature.shape[1] == sizes.channels
    fits = fits and (not rows or len(feature) in rows)
    if not fits or not all(
        least <= side <= most
        for least, side, most in zip(smallest, feature.shape[2:], (height, width), strict=True)
    ):
        counted = " or ".join(map(str, rows)) or "S"
        raise InputError(
            f"expected features of block {block} as ({counted}, {sizes.channels}, {height}, "
            f"{width}), got {tuple(feature.shape)}: capture them on these very latents with the "
            f"UNet of {config.family!r}"
        )
    return height, width
