"""The atlas: every thing's picture in every style, painted in its colours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .objects import thing_named

ATLAS_FOLDER = Path(__file__).parent / "atlas"
STYLES = ("noto", "fluent", "twemoji")
TILE = 160
MARGIN = 2
# Found by eye over the three styles: shades of a red turn as far as magenta, leaves stay green.
_HUE_REACH = (-62 / 360, 34 / 360)
_GREY_BELOW = 0.125
_KEPT_HUE_SPREAD = 0.35


@dataclass(frozen=True, slots=True)
class Paint:
    """A colour as a hue (in turns), and how much saturation and brightness are scaled."""

    hue: float
    saturation: float = 1.0
    brightness: float = 1.0


PAINTS = {
    "red": Paint(0.0),
    "yellow": Paint(0.138, 0.95, 1.18),
    "green": Paint(0.33, 0.9, 0.82),
    "blue": Paint(0.6, 0.95, 0.98),
    "purple": Paint(0.78, 0.8, 0.85),
    "pink": Paint(0.92, 0.55, 1.2),
}


@lru_cache(maxsize=1024)
def tile(name: str, colour: str | None, style: str) -> Image.Image:
    """One thing's picture as RGBA, `TILE` pixels a side; do not write to it."""
    plain = _cut_tile(thing_named(name).key, style)
    return plain if colour is None else repaint(plain, PAINTS[colour])


def repaint(picture: Image.Image, paint: Paint) -> Image.Image:
    """The RGBA picture with its ruling hue moved to the paint's; other hues and greys stay."""
    hsv = np.asarray(picture.convert("RGB").convert("HSV"), np.float32) / 255
    hue, saturation, brightness = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    alpha = picture.getchannel("A")
    distance = hue - _ruling_hue(hue, saturation * brightness * (np.asarray(alpha) > 128))
    distance = (distance + 0.5) % 1 - 0.5
    is_near = (distance > _HUE_REACH[0]) & (distance < _HUE_REACH[1])
    is_ruled = is_near & (saturation > _GREY_BELOW)
    painted = (
        (paint.hue + _KEPT_HUE_SPREAD * distance) % 1,
        np.clip(saturation * paint.saturation, 0, 1),
        np.clip(brightness * paint.brightness, 0, 1),
    )
    channels = [
        Image.fromarray(np.round(np.where(is_ruled, new, old) * 255).astype(np.uint8))
        for new, old in zip(painted, (hue, saturation, brightness), strict=True)
    ]
    result = Image.merge("HSV", channels).convert("RGB")
    result.putalpha(alpha)
    return result


def _ruling_hue(hue: NDArray[np.floating[Any]], weight: NDArray[np.floating[Any]]) -> float:
    """The hue, in turns, around which most of the weight lies."""
    histogram, _ = np.histogram(hue, bins=36, range=(0, 1), weights=weight)
    smooth = histogram + 0.5 * (np.roll(histogram, 1) + np.roll(histogram, -1))
    peak = (int(smooth.argmax()) + 0.5) / 36
    near = (hue - peak + 0.5) % 1 - 0.5
    weight = weight * (np.abs(near) < 1 / 24)
    return float(peak + (near * weight).sum() / weight.sum())


@lru_cache(maxsize=1)
def _places() -> dict[str, tuple[int, int]]:
    index = json.loads((ATLAS_FOLDER / "index.json").read_text(encoding="utf-8"))
    return {key: divmod(i, index["columns"]) for i, key in enumerate(index["keys"])}


@lru_cache(maxsize=len(STYLES))
def _atlas(style: str) -> Image.Image:
    with Image.open(ATLAS_FOLDER / f"{style}.webp") as atlas:
        return atlas.convert("RGBA")


def _cut_tile(key: str, style: str) -> Image.Image:
    row, column = _places()[key]
    left, top = column * TILE, row * TILE
    return _atlas(style).crop((left, top, left + TILE, top + TILE))
