"""Scenes: a layout drawn as a picture with an exact, occlusion-aware map of its regions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..errors import InputError
from .backgrounds import background_named, paint_background
from .layout import Layout, Placed
from .tiles import MARGIN, TILE, tile

_SOLID = 128
_LEAST_SIDE = 32
_SHADOW_DETAIL = 32


@dataclass(frozen=True, slots=True)
class Region:
    """One region of a scene; its index in `Scene.regions` is its value in the label map.

    Attributes:
        name: the thing's or stuff's noun.
        kind: "thing" or "stuff".
        colour: a thing's colour, if it has a named one.
        thing: a thing's index in the layout.
    """

    name: str
    kind: Literal["thing", "stuff"]
    colour: str | None = None
    thing: int | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawn layout: image ``(S, S, 3)`` uint8 RGB, labels ``(S, S)`` uint8 region indices."""

    layout: Layout
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    regions: tuple[Region, ...]


def render(layout: Layout, side: int) -> Scene:
    """The layout drawn in side x side pixels.

    Raises:
        InputError: if the side is too small to show anything.
    """
    if side < _LEAST_SIDE:
        raise InputError(
            f"expected a side of at least {_LEAST_SIDE} pixels, got {side}: ask for more"
        )
    picture, labels = paint_background(layout.background, layout.background_seed, side)
    canvas = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    regions = regions_of(layout)
    first = len(regions) - len(layout.things)
    for index, thing in enumerate(layout.things, start=first):
        sprite, left, top = _draw_thing(thing, layout.style, side)
        alpha = sprite.getchannel("A")
        _cast_shadow(canvas, alpha, (left, top), layout.shadow, side)
        canvas.paste(sprite.convert("RGB"), (left, top), alpha)
        _mark(labels, np.asarray(alpha) >= _SOLID, left, top, index)
    return Scene(layout, _jitter(canvas, layout, side), labels, regions)


def regions_of(layout: Layout) -> tuple[Region, ...]:
    """The layout's regions in the order of their labels: first the stuff, then the things."""
    stuff = [Region(noun, "stuff") for noun in background_named(layout.background).stuff]
    things = [
        Region(thing.name, "thing", thing.colour, index)
        for index, thing in enumerate(layout.things)
    ]
    return (*stuff, *things)


def _draw_thing(thing: Placed, style: str, side: int) -> tuple[Image.Image, int, int]:
    """The thing as RGBA, scaled and turned, with the canvas column and row of its corner."""
    length = thing.scale * side * TILE / (TILE - 2 * MARGIN)
    source = tile(thing.name, thing.colour, style)
    reduced = max(1, round(length))
    source = source.resize((reduced, reduced), Image.Resampling.LANCZOS)
    if thing.is_flipped:
        source = source.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = math.radians(thing.angle)
    cosine, sine = math.cos(angle), math.sin(angle)
    reach = math.ceil(length / 2 * (abs(cosine) + abs(sine))) + 1
    left, top = math.floor(thing.centre_x * side) - reach, math.floor(thing.centre_y * side) - reach
    x, y = thing.centre_x * side - left, thing.centre_y * side - top
    factor = reduced / length
    a, b = cosine * factor, -sine * factor
    affine = (a, b, reduced / 2 - a * x - b * y, -b, a, reduced / 2 + b * x - a * y)
    box = (2 * reach + 1, 2 * reach + 1)
    turned = source.transform(box, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    return turned, left, top


def _cast_shadow(
    canvas: Image.Image, alpha: Image.Image, corner: tuple[int, int], depth: float, side: int
) -> None:
    """Darken the canvas softly below and beside what is about to be pasted."""
    margin = round(0.05 * side)
    width = alpha.width + 2 * margin
    small = Image.new("L", (_SHADOW_DETAIL, _SHADOW_DETAIL))
    inner = round(_SHADOW_DETAIL * alpha.width / width)
    start = (_SHADOW_DETAIL - inner) // 2
    small.paste(alpha.resize((inner, inner), Image.Resampling.BOX), (start, start))
    soft = small.filter(ImageFilter.BoxBlur(1)).filter(ImageFilter.BoxBlur(1))
    soft = soft.point([round(value * depth) for value in range(256)])
    shadow = soft.resize((width, width), Image.Resampling.BILINEAR)
    offset = round(0.025 * side)
    place = (corner[0] - margin + offset // 2, corner[1] - margin + offset)
    canvas.paste((10, 10, 20), (*place, place[0] + width, place[1] + width), shadow)


def _mark(
    labels: NDArray[np.uint8], is_inside: NDArray[np.bool_], left: int, top: int, index: int
) -> None:
    """Write the index into the labels where the mask, placed at (left, top), is true."""
    side = labels.shape[0]
    rows = slice(max(0, top), min(side, top + is_inside.shape[0]))
    columns = slice(max(0, left), min(side, left + is_inside.shape[1]))
    visible = is_inside[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    labels[rows, columns][visible] = index


def _jitter(canvas: Image.Image, layout: Layout, side: int) -> NDArray[np.uint8]:
    """The canvas with the layout's light and blur."""
    if layout.blur > 0:
        canvas = canvas.filter(ImageFilter.BoxBlur(layout.blur * side))
    table = [min(255, round(value * layout.light)) for value in range(256)]
    return np.asarray(canvas.point(table * 3))
