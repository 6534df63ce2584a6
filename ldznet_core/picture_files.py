"""Pictures from files: upright, RGB with 8 bits, and decoded no larger than they are needed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from .errors import InputError
from .pictures import size_of, to_picture

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange height and width


@dataclass(frozen=True, slots=True, eq=False)
class OpenedPicture:
    """A picture as it came out of its file."""

    image: Image.Image
    """RGB and upright, maybe smaller than the file's."""
    size: tuple[int, int]
    """(height, width) of the file's own picture, upright."""


def read_picture(path: Path, enough_pixels: int | None = None) -> OpenedPicture:
    """The picture of a file: turned as its EXIF data say, on white where it is transparent.

    Args:
        path: In any form that Pillow reads; of several frames the first counts.
        enough_pixels: Where the file's form allows for it (JPEG), a larger picture is decoded at a
            half, a quarter or an eighth of its sides as long as this many pixels remain.

    Raises:
        InputError: It is no picture, damaged, or has more pixels than `Image.MAX_IMAGE_PIXELS`.
    """
    with _opened(path) as opened:
        size = _upright_size(opened)
        if enough_pixels is not None:
            scale = min(1.0, math.sqrt(enough_pixels / (size[0] * size[1])))
            width, height = (math.ceil(scale * side) for side in opened.size)
            opened.draft(None, (width, height))
        image = to_picture(ImageOps.exif_transpose(opened))
    return OpenedPicture(image, size)


def check_picture(path: Path) -> None:
    """Refuse what is no picture by the beginning of its file, without decoding it.

    Raises:
        InputError: As `read_picture`, but for damage that shows later.
    """
    with _opened(path):
        pass


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file, open; whatever Pillow raises on it is a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                yield opened
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"expected a picture of at most {Image.MAX_IMAGE_PIXELS} pixels in {path}, got more: "
            "scale it down first"
        ) from error
    except Exception as error:  # on damaged bytes Pillow's readers raise all kinds
        raise InputError(
            f"expected a picture in {path}, got {str(error) or type(error).__name__}: choose "
            "another file"
        ) from error


def _upright_size(opened: Image.Image) -> tuple[int, int]:
    height, width = size_of(opened)
    is_sideways = opened.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS
    return (width, height) if is_sideways else (height, width)
