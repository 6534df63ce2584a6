"""Labelled rows of pictures under headings, two parts side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SIDE = 128
_GAP = 6
_LINE = 16


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Pictures of one thing, of one size, and what is said of it."""

    label: str
    pictures: tuple[Image.Image, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of the same columns under a heading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def grey(values: NDArray[np.float32] | NDArray[np.bool_]) -> Image.Image:
    """Values ``(H, W)`` in [0, 1]; white is 1."""
    return Image.fromarray((values.astype(np.float32) * 255).round().astype(np.uint8))


def sheet_of(parts: Sequence[Part]) -> Image.Image:
    """All parts, two in a line, the first beside the second."""
    drawn = [_draw(part) for part in parts]
    lines = [drawn[start : start + 2] for start in range(0, len(drawn), 2)]
    widths = [sum(part.width for part in line) for line in lines]
    heights = [max(part.height for part in line) for line in lines]
    sheet = Image.new("RGB", (max(widths), sum(heights) + _GAP), "white")
    for number, line in enumerate(lines):
        left = 0
        for part in line:
            sheet.paste(part, (left, sum(heights[:number]) + _GAP))
            left += part.width
    return sheet


def _draw(part: Part) -> Image.Image:
    """The rows under their heading, each with its label above its pictures."""
    height = _LINE + len(part.rows) * (_LINE + _SIDE + _GAP)
    drawn = Image.new("RGB", (len(part.columns) * (_SIDE + _GAP) + _GAP, height), "white")
    draw = ImageDraw.Draw(drawn)
    draw.text((_GAP, 2), f"{part.title}: {', '.join(part.columns)}", fill="black")
    for index, row in enumerate(part.rows):
        top = _LINE + index * (_LINE + _SIDE + _GAP)
        draw.text((_GAP, top + 2), row.label, fill="black")
        for column, picture in enumerate(row.pictures):
            place = (_GAP + column * (_SIDE + _GAP), top + _LINE)
            drawn.paste(picture.convert("RGB").resize((_SIDE, _SIDE)), place)
    return drawn
