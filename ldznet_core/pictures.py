"""Pictures on their way in: any usual form to PIL RGB, scaled and padded for a VAE.

PIL speaks of (width, height); this module is where it becomes our (height, width).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .errors import InputError
from .frames import padded_side

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture: TypeAlias = Image | npt.NDArray[Any] | Tensor


def to_picture(image: Picture) -> Image:
    """A picture as PIL RGB.

    Args:
        image: A PIL image of any mode (what is transparent becomes white, 16 bits become 8), a
            ``(H, W, 3)`` uint8 array, or a ``(1, 3, H, W)`` tensor in [-1, 1].

    Raises:
        InputError: It is something else, has no pixels, or holds values out of range.
    """
    from PIL import Image  # the core is importable without Pillow

    if isinstance(image, Tensor):
        image = _pixels_of(image)
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise _unexpected(f"an array {image.shape} of {image.dtype}")
        return Image.fromarray(np.ascontiguousarray(image))
    if not isinstance(image, Image.Image):
        raise _unexpected(type(image).__name__)
    if not image.width or not image.height:
        raise _unexpected(f"a picture of {image.width}x{image.height} pixels")
    return _to_rgb(image)


def size_of(picture: Image) -> tuple[int, int]:
    """(height, width) of a PIL image."""
    return picture.height, picture.width


def resized(picture: Image, size: tuple[int, int]) -> Image:
    """The picture at a size (height, width); one that has it is given back as it is."""
    from PIL import Image

    if size_of(picture) == size:
        return picture
    return picture.resize(size[::-1], Image.Resampling.LANCZOS)


def scale_to_area(picture: Image, side: int) -> Image:
    """The picture with about the area of a square of this side, and its own proportions."""
    from PIL import Image

    scale = side / math.sqrt(picture.height * picture.width)
    width, height = (max(1, round(scale * length)) for length in picture.size)
    if (width, height) == picture.size:
        return picture
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def pad_picture(picture: Image, multiple: int) -> Image:
    """The picture grown to multiples at the bottom and the right, its edge repeated."""
    from PIL import Image

    height, width = size_of(picture)
    bottom, right = padded_side(height, multiple) - height, padded_side(width, multiple) - width
    if not bottom and not right:
        return picture
    pixels = np.pad(np.asarray(picture), ((0, bottom), (0, right), (0, 0)), mode="edge")
    return Image.fromarray(pixels)


def _to_rgb(image: Image) -> Image:
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return _with_8_bits(image).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        straight = image.convert(image.mode.upper())  # "La" and "RGBa" hold premultiplied colours
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, straight.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _with_8_bits(image: Image) -> Image:
    """Greys of 32 bits as 8 bits: older versions of Pillow read 16 bits into them.

    Whole numbers above 255 are taken for 16 bits, real numbers up to 1 for shares of white.
    """
    from PIL import Image

    levels = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode == "I":
        levels = levels / 257 if levels.max(initial=0) > 255 else levels
    elif levels.max(initial=0) <= 1:
        levels = levels * 255
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def _pixels_of(image: Tensor) -> npt.NDArray[np.uint8]:
    if image.ndim != 4 or len(image) != 1 or image.shape[1] != 3 or not image.is_floating_point():
        raise _unexpected(f"a tensor {tuple(image.shape)} of {image.dtype}")
    pixels = image[0].detach().float().cpu().permute(1, 2, 0)  # (H, W, 3)
    if not bool((pixels.abs() <= 1).all()):
        raise _unexpected("a tensor with values outside [-1, 1] or NaN")
    levels: npt.NDArray[np.uint8] = ((pixels + 1) * 127.5).round().to(torch.uint8).numpy()
    return levels


def _unexpected(got: str) -> InputError:
    return InputError(
        "expected a PIL image, a (H, W, 3) uint8 array or a (1, 3, H, W) tensor in [-1, 1], "
        f"got {got}: convert it first"
    )
