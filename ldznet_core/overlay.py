"""Masks shown over their picture, each in a colour of its own with its phrase and score."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .segmentation import Segmentation

if TYPE_CHECKING:
    from PIL.Image import Image

_LINE = 16
_STRENGTH = 0.55
_SWATCH = 10
_GAP = 8


def mask_image(segmentation: Segmentation, index: int) -> Image:
    """The mask of one phrase as an "L" picture: 255 is inside."""
    from PIL import Image

    pixels = (segmentation.masks[index] * 255).round().cpu().numpy().astype(np.uint8)
    return Image.fromarray(pixels)


def overlay(picture: Image, segmentation: Segmentation, smallest_side: int = 384) -> Image:
    """The RGB picture under its masks, with a legend below; small pictures are enlarged.

    Args:
        picture: RGB, of the masks' size.
        segmentation: Its masks.
        smallest_side: Pixels that a side has at least; whole factors only.
    """
    from PIL import Image, ImageDraw

    scale = max(1, -(-smallest_side // min(picture.size)))
    size = (picture.width * scale, picture.height * scale)
    legend = _LINE * len(segmentation.phrases) + 4
    canvas = Image.new("RGB", (size[0], size[1] + legend), "white")
    shown = picture.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    for index, phrase in enumerate(segmentation.phrases):
        colour = _colour(index)
        inside = mask_image(segmentation, index).resize(size, Image.Resampling.BILINEAR)
        tint = inside.point([round(value * _STRENGTH) for value in range(256)])
        shown.paste(colour, (0, 0), tint)
        top = size[1] + 4 + index * _LINE
        draw.rectangle((4, top, 4 + _SWATCH, top + _SWATCH), fill=colour)
        name = phrase if _is_drawable(phrase) else f"phrase {index + 1}"
        line = f"{name}: {segmentation.verdict(index)}, score {segmentation.scores[index]:.2f}"
        draw.text((20, top - 1), line, fill="black")
    canvas.paste(shown, (0, 0))
    return canvas


def heatmap(segmentation: Segmentation) -> Tensor:
    """Probabilities as light, ``(H, W, 3)`` RGB in [0, 1]: each phrase in a colour of its own.

    Where phrases compete for a pixel, the likelier one gives the colour.
    """
    likeliest = segmentation.probabilities.max(dim=0)
    colours = [_colour(index) for index in range(len(segmentation.phrases))]
    palette = torch.tensor(colours, device=likeliest.values.device) / 255
    return palette[likeliest.indices] * likeliest.values[..., None]


def side_by_side(pictures: Sequence[Image]) -> Image:
    """RGB pictures in a row, each enlarged to the width of the widest, on white."""
    from PIL import Image

    width = max(picture.width for picture in pictures)
    shown = [
        picture.resize((width, round(picture.height * width / picture.width)))
        for picture in pictures
    ]
    height = max(picture.height for picture in shown)
    row = Image.new("RGB", (len(shown) * (width + _GAP) - _GAP, height), "white")
    for index, picture in enumerate(shown):
        row.paste(picture, (index * (width + _GAP), 0))
    return row


def _is_drawable(phrase: str) -> bool:
    """Whether Pillow's own font has all of its letters."""
    try:
        phrase.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _colour(index: int) -> tuple[int, int, int]:
    """Well-told-apart hues, by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb((0.95 + index * 0.618034) % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
