"""Masks of an inpainting: what is painted anew, and how the result joins the picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from ..errors import InputError

_GROWN_LATENTS = 1
_FEATHER_PIXELS = 3


def latent_mask(mask: Image.Image | Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Which latents are painted anew, ``(1, 1, h, w)`` of 0 and 1.

    Every latent that the mask touches is, and those around it: its pixels reach into them.

    Args:
        mask: "L", or ``(H, W)`` or ``(1, H, W)`` in [0, 1].
        size: (H, W) of the picture.
        stride: Pixels to a latent.

    Raises:
        InputError: The mask has another size, or values that are none of a mask.
    """
    touched = F.max_pool2d(_pixels(mask, size)[None, None], stride)
    grown = F.max_pool2d(touched, 2 * _GROWN_LATENTS + 1, stride=1, padding=_GROWN_LATENTS)
    return (grown > 0.5).float()


def blend(picture: Image.Image, painted: Image.Image, mask: Image.Image | Tensor) -> Image.Image:
    """The painted picture inside the mask, softly joined to the old one outside.

    Pixels further from the mask than its feather stay as they are, bit for bit.
    """
    inside = _pixels(mask, (picture.height, picture.width)).numpy()
    soft = Image.fromarray((inside * 255).round().astype(np.uint8))
    grown = soft.filter(ImageFilter.MaxFilter(2 * _FEATHER_PIXELS + 1))
    return Image.composite(painted, picture, grown.filter(ImageFilter.BoxBlur(_FEATHER_PIXELS)))


def _pixels(mask: Image.Image | Tensor, size: tuple[int, int]) -> Tensor:
    """The mask as ``(H, W)`` float32 in [0, 1] on the CPU."""
    if isinstance(mask, Image.Image):
        pixels = torch.from_numpy(np.array(mask.convert("L"), np.float32) / 255)
    elif isinstance(mask, Tensor):
        pixels = mask.detach().float().cpu()
        pixels = pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels
    else:
        raise InputError(
            f"expected a mask as a picture, a tensor or an array, got {type(mask).__name__}: pass "
            "one of a segmentation"
        )
    if pixels.shape != size:
        raise InputError(
            f"expected a mask of the picture's {size[1]}x{size[0]} pixels, got "
            f"{tuple(pixels.shape)} (height, width): resize it"
        )
    if not bool(((pixels >= 0) & (pixels <= 1)).all()):  # false of NaN, too
        raise InputError(
            f"expected a mask from 0 to 1, got {float(pixels.min()):g} to {float(pixels.max()):g}: "
            "divide one of 8 bits by 255"
        )
    return pixels
