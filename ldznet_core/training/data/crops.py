"""Square views of pictures of any shape: where they are cut, and how their colours vary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from ...data_sets.shapes import Mask
from ...world.draw import Draw

_VARIATION = 0.2  # of brightness, contrast and saturation; hues stay, for phrases name them
_KEPT = 0.95  # of what the best square shows of a thing, where none shows it whole
_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclass(frozen=True, slots=True)
class Square:
    """A part of a picture, in pixels."""

    top: int
    left: int
    side: int

    def picture(self, picture: Image.Image, side: int) -> Image.Image:
        """The part, scaled to a side."""
        right, bottom = self.left + self.side, self.top + self.side
        box = (self.left, self.top, right, bottom)
        return picture.resize((side, side), Image.Resampling.LANCZOS, box=box)

    def part(self, mask: Mask) -> Mask:
        """The part of a mask ``(H, W)``, at its own scale."""
        return mask[self.top : self.top + self.side, self.left : self.left + self.side]

    def mask(self, mask: Mask, side: int) -> Mask:
        """The part of a mask ``(H, W)``, scaled to a side: where most of a new pixel is inside."""
        levels = Image.fromarray(self.part(mask).astype(np.uint8) * 255)
        scaled: Mask = np.asarray(levels.resize((side, side), Image.Resampling.BOX)) > 127
        return scaled


def square_around(mask: Mask, draw: Draw) -> Square:
    """The largest square of a picture, at random among those that show the whole of a thing.

    The paper keeps 5 % of the thing's pixels (koutilya-pnvr/LD-ZNet@3d28f76), we keep all; of a
    thing that is too long for any square, nearly as much as the best one shows.

    Args:
        mask: ``(H, W)`` of the thing; without any pixel every square will do.
        draw: Chooses.
    """
    height, width = mask.shape
    side, is_wide = min(height, width), width > height
    before = np.concatenate([[0], np.cumsum(mask.sum(axis=0 if is_wide else 1))])
    shown = before[side:] - before[:-side]  # by the square's offset along the longer side
    best = shown.max()
    offsets = np.flatnonzero(shown >= (best if best == before[-1] else _KEPT * best)).tolist()
    offset: int = draw.choice(offsets)
    return Square(0, offset, side) if is_wide else Square(offset, 0, side)


def varied(picture: Image.Image, draw: Draw) -> Image.Image:
    """The picture a little brighter or darker, of more or less contrast and colour."""
    for enhancer in _ENHANCERS:
        factor = draw.uniform(1 - _VARIATION, 1 + _VARIATION)
        picture = enhancer(picture).enhance(factor)
    return picture
