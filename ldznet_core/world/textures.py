"""What backgrounds are painted with: fades, smooth noises, lines, and layers by label.

Smooth, low-resolution noises make detail that an 8x compressing VAE keeps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .draw import Draw

Picture = NDArray[np.float32]
Labels = NDArray[np.uint8]
Colour = tuple[float, float, float]


def finish(draw: Draw, picture: Picture, strength: float) -> Picture:
    """The picture with smooth mottling and a slight tint of its own."""
    side = picture.shape[0]
    mottling = noise(draw, side, 4, 4) * strength + noise(draw, side, 11, 11) * strength * 0.5
    tint = draw.grid(1, 3) * 9
    return np.asarray(picture + mottling[..., None] + tint, np.float32)


def noise(draw: Draw, side: int, rows: int, columns: int) -> Picture:
    """Smooth noise ``(side, side)``, mostly in [-1, 1], of about rows x columns bumps."""
    grid = Image.fromarray(draw.grid(rows, columns))
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC))


def wave(draw: Draw, side: int, height: float) -> Picture:
    """A smooth line ``(1, side)`` in about [-height, height]."""
    knots = Image.fromarray(draw.grid(1, 5))
    line: Picture = np.asarray(knots.resize((side, 1), Image.Resampling.BICUBIC))
    return line * np.float32(height)


@lru_cache(maxsize=8)
def heights(side: int) -> Picture:
    """Each pixel's height ``(side, side)`` in (0, 1), 0 at the top."""
    line = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    rows = np.repeat(line[:, None], side, axis=1)
    rows.flags.writeable = False
    return rows


def fade(top: Colour, bottom: Colour, share: Picture) -> Picture:
    """Colours ``(S, 1, 3)`` from top to bottom as the rows' share goes from 0 to 1."""
    share = np.clip(share[:, :1], 0, 1)[..., None]
    return np.asarray(top, np.float32) * (1 - share) + np.asarray(bottom, np.float32) * share


def select(labels: Labels, layers: tuple[Picture, ...]) -> Picture:
    """The layer that each pixel's label names, as ``(S, S, 3)``."""
    picture = np.broadcast_to(layers[0], (*labels.shape, 3))
    for index, layer in enumerate(layers[1:], start=1):
        picture = np.where((labels == index)[..., None], layer, picture)
    return picture


def to_edge(position: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The distance to the nearest whole number."""
    distance: NDArray[np.floating[Any]] = np.abs(position - np.round(position))
    return distance
