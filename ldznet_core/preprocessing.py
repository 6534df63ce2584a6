"""Pictures brought to the size on which a head was trained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .errors import InputError
from .pictures import scale_to_area, size_of
from .procedure import Preprocess

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_STRETCH = 512
"""How often a picture's shorter side may go into its longer one."""

_OFFICIAL_MULTIPLE = 64


def working_picture(picture: Image, side: int, preprocess: Preprocess) -> Image:
    """An RGB picture with about the area of a square of this side.

    Args:
        picture: RGB.
        side: Of the square pictures on which the head was trained.
        preprocess: "fit" keeps the proportions; "official" is `official_size`.

    Raises:
        InputError: The picture is too long and narrow.
    """
    from PIL import Image  # the core is importable without Pillow

    check_proportions(size_of(picture))
    if preprocess == "fit":
        return scale_to_area(picture, side)
    height, width = official_size(size_of(picture), side)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def check_proportions(size: tuple[int, int]) -> None:
    """Refuse strips, (height, width): they would be made so long that attention takes for ever.

    Raises:
        InputError: One side is more than 512 times as long as the other.
    """
    height, width = size
    if max(size) > MOST_STRETCH * min(size):
        raise InputError(
            f"expected a picture at most {MOST_STRETCH} times as long as it is wide, got "
            f"{width}x{height}: cut it into pieces"
        )


def official_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) to which the authors resize a picture (koutilya-pnvr/LD-ZNet@3d28f76).

    About the area of a square, then both sides floored to multiples of 64.

    >>> official_size((480, 640), 384)
    (320, 384)

    Args:
        size: (height, width) of the picture.
        side: Of the square; the authors' is 384.

    Raises:
        InputError: A side would be 0.
    """
    ratio = size[0] / size[1]
    width = int(math.sqrt(side * side / ratio))
    height = int(ratio * width)
    floored = tuple(length - length % _OFFICIAL_MULTIPLE for length in (height, width))
    if 0 in floored:
        raise InputError(
            f"expected a picture less long and narrow, got {size[1]}x{size[0]}, of which the "
            f"official sizes leave {floored[1]}x{floored[0]}: use the preprocessing that fits"
        )
    return floored[0], floored[1]
