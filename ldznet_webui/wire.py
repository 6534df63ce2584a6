"""Pictures in JSON, both ways: base64 of a file's bytes.

What comes from a client is data and never a name: no path and no address is opened.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageOps

from ldznet_core import InputError
from ldznet_core.pictures import to_picture
from ldznet_core.preprocessing import check_proportions

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MOST_PIXELS = 4096 * 4096
LONGEST_SIDE = 8192


def picture_of(text: object) -> Image.Image:
    """The picture in a text: upright, RGB, on white where it is transparent.

    Args:
        text: Base64 of a file in one of `FORMATS`, with or without ``data:image/...;base64,``.

    Raises:
        InputError: It is something else, damaged, or larger or longer than the limits above; the
            size is read off the file's beginning, before anything is decoded.
    """
    if not isinstance(text, str):
        raise _no_picture(f"{type(text).__name__}")
    data = _data_of(text)
    with _sentences(text):
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_size(*opened.size)
    with _sentences(text), opened:
        return to_picture(ImageOps.exif_transpose(opened))


def text_of(picture: Image.Image) -> str:
    """Base64 of a picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _data_of(text: str) -> bytes:
    head, comma, tail = text.partition(",")
    is_url = bool(comma) and head.startswith("data:") and head.endswith(";base64")
    try:  # many programs break base64 into lines
        return base64.b64decode("".join((tail if is_url else text).split()), validate=True)
    except ValueError as error:
        raise _no_picture(_shown(text)) from error


@contextmanager
def _sentences(text: str) -> Iterator[None]:
    """Make a sentence of what Pillow raises; on damaged bytes its readers raise all kinds."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("more") from error
    except Exception as error:
        raise _no_picture(_shown(text)) from error


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise _too_large(f"{width}x{height}")
    check_proportions((height, width))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _no_picture(got: str) -> InputError:
    return InputError(
        f"expected a whole {', '.join(FORMATS)} picture in base64 as image, got {got}: send the "
        "bytes of its file, because paths and addresses are not opened"
    )


def _too_large(got: str) -> InputError:
    return InputError(
        f"expected a picture of at most {MOST_PIXELS} pixels and {LONGEST_SIDE} to a side, got "
        f"{got}: scale it down first"
    )
