"""Contact sheets: scenes beside their masks, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .captions import caption
from .scenes import Scene

_PALETTE = np.asarray(  # a scene has three kinds of stuff and four things at most
    [
        (70, 120, 140),
        (226, 166, 48),
        (120, 170, 90),
        (90, 80, 210),
        (214, 58, 80),
        (240, 240, 240),
        (40, 40, 40),
    ],
    np.uint8,
)
_LINE = 14


def contact_sheet(scenes: Sequence[Scene], columns: int = 6) -> Image.Image:
    """Every scene under its caption, with its label map beside it."""
    side = scenes[0].image.shape[0]
    rows = -(-len(scenes) // columns)
    sheet = Image.new("RGB", (columns * 2 * side, rows * (side + _LINE)), "white")
    pen = ImageDraw.Draw(sheet)
    for position, scene in enumerate(scenes):
        row, column = divmod(position, columns)
        left, top = column * 2 * side, row * (side + _LINE)
        pen.text((left + 2, top + 1), caption(scene.layout, plain=True)[:44], "black")
        sheet.paste(Image.fromarray(scene.image), (left, top + _LINE))
        sheet.paste(Image.fromarray(_PALETTE[scene.labels]), (left + side, top + _LINE))
    return sheet
