"""The frame of a picture in latents: where padding goes, and how it comes off again.

The UNet halves its input three times, so the sides of its latents must be multiples of 8. Latents
of other sizes grow at their bottom and right edges, the edge repeated, and what comes out is cut
there again: the origin stays, and 8 pixels remain one latent. A backbone's probe and the head both
pad with `pad_to_multiple`, so that features and latents lie in the same frame.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

STRIDE = 8
"""Pixels to a latent, along each side."""


def padded_side(side: int, multiple: int) -> int:
    """The next multiple.

    >>> padded_side(60, 8), padded_side(64, 8)
    (64, 64)
    """
    return -(-side // multiple) * multiple


def pad_to_multiple(latents: Tensor, multiple: int = 8) -> Tensor:
    """``(B, C, h, w)`` with both sides grown to multiples; the very tensor where they are."""
    height, width = latents.shape[-2:]
    return pad_to(latents, padded_side(height, multiple), padded_side(width, multiple))


def pad_to(maps: Tensor, height: int, width: int) -> Tensor:
    """``(B, C, h, w)`` grown at the bottom and the right by repeating the edge."""
    bottom, right = height - maps.shape[-2], width - maps.shape[-1]
    return F.pad(maps, (0, right, 0, bottom), mode="replicate") if bottom or right else maps
