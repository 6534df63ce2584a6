"""Masks as data sets store them: polygons, run lengths and files, made into pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..errors import InputError
from ..picture_files import check_picture
from ..pictures import to_picture

Mask: TypeAlias = NDArray[np.bool_]
Corners: TypeAlias = NDArray[np.float64]
"""Of a polygon, ``(N, 2)``: each (x, y) in pixels; the picture's upper left corner is (0, 0)."""

_LARGEST = 2**31


@dataclass(frozen=True, slots=True, eq=False)
class Nothing:
    """The mask of what is not there."""

    def mask(self, size: tuple[int, int]) -> Mask:
        """An empty mask."""
        return np.zeros(size, dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Polygons:
    """Pixels whose centre lies in any of some polygons.

    `pycocotools` instead follows the outline on a grid five times as fine, and so differs in pixels
    that the outline cuts.
    """

    polygons: Sequence[Corners]

    def mask(self, size: tuple[int, int]) -> Mask:
        """The mask of a picture of this (height, width)."""
        found = np.zeros(size, dtype=np.bool_)
        for corners in self.polygons:
            found |= _filled(corners, size)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class OutlinedPolygons:
    """Pixels in or on any of some polygons whose corners are cut to whole numbers.

    Drawn by Pillow as PhraseCut's evaluator has it (`utils/data_transfer.py:polygons_to_mask` in
    ChenyunWu/PhraseCutDataset@276470b).
    """

    polygons: Sequence[Corners]

    def mask(self, size: tuple[int, int]) -> Mask:
        """The mask of a picture of this (height, width)."""
        canvas = Image.new("1", (size[1], size[0]))
        draw = ImageDraw.Draw(canvas)
        for corners in self.polygons:
            if len(corners) > 1:
                draw.polygon([(int(x), int(y)) for x, y in corners.tolist()], fill=1, outline=1)
        return np.asarray(canvas, dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class RunLengths:
    """COCO's run lengths: pixels outside and inside in turns, column by column from the left."""

    counts: Sequence[int]
    size: tuple[int, int]
    """(height, width) that the lengths fill."""

    def mask(self, size: tuple[int, int]) -> Mask:
        """The mask, whose size is its own.

        Raises:
            InputError: The picture is of another (height, width).
        """
        if size != self.size:
            raise _misfit(f"run lengths of {self.size[1]}x{self.size[0]}", size)
        values = np.arange(len(self.counts)) % 2 == 1
        columns = np.repeat(values, self.counts).reshape(self.size[1], self.size[0])
        return np.ascontiguousarray(columns.T)

    @classmethod
    def of_coco(cls, stored: object, where: str) -> RunLengths:
        """What COCO stores as ``{"size": [h, w], "counts": list or compressed string}``.

        Raises:
            InputError: It is something else, or its lengths do not fill its size.
        """
        record = stored if isinstance(stored, dict) else {}
        size, counts = _counts(record.get("size")), _counts(record.get("counts"))
        if size is None or counts is None or len(size) != 2 or sum(counts) != size[0] * size[1]:
            raise InputError(
                f"expected run lengths that fill their size in {where}, got others: fetch the file "
                "again"
            )
        return cls(counts, (size[0], size[1]))


@dataclass(frozen=True, slots=True, eq=False)
class MaskFile:
    """A picture that is light inside, more than half as light as its lightest pixel.

    So a mask of zeros and ones is one like a mask of black and white. What is transparent is
    outside.
    """

    path: Path

    def mask(self, size: tuple[int, int]) -> Mask:
        """The mask, whose size is its file's.

        Raises:
            InputError: It is no picture, or not of this (height, width).
        """
        levels = _levels(self.path)
        if levels.shape != size:
            raise _misfit(f"{self.path} of {levels.shape[1]}x{levels.shape[0]}", size)
        inside: Mask = 2 * levels > levels.max()
        return inside


def _levels(path: Path) -> NDArray[np.int64]:
    """Lightness ``(H, W)``, on black where the picture is transparent."""
    check_picture(path)
    try:
        with Image.open(path) as opened:
            picture: Image.Image = opened
            if "A" in picture.getbands() or "transparency" in picture.info:
                black = Image.new("RGBA", picture.size, "black")
                picture = Image.alpha_composite(black, picture.convert("RGBA"))
            return np.asarray(to_picture(picture).convert("L"), dtype=np.int64)
    except Exception as error:  # on damaged bytes Pillow's readers raise all kinds
        raise InputError(f"expected a mask in {path}, got {error}: make it anew") from error


def read_polygons(stored: object, where: str) -> list[Corners]:
    """Polygons, each as a list of (x, y) or as one list of numbers in which x and y take turns.

    Raises:
        InputError: They are something else.
    """
    if not isinstance(stored, list) or not all(isinstance(each, list) for each in stored):
        raise _no_polygons(where)
    return [_read_corners(each, where) for each in stored]


def _read_corners(stored: list[object], where: str) -> Corners:
    try:
        numbers = np.asarray(stored or np.zeros((0, 2)))
        corners = numbers.reshape(-1, 2)
    except (ValueError, OverflowError) as error:
        raise _no_polygons(where) from error
    is_paired = numbers.ndim == 1 or numbers.shape[1:] == (2,)
    if not is_paired or numbers.dtype.kind not in "iuf" or not (abs(corners) < _LARGEST).all():
        raise _no_polygons(where)
    return corners.astype(np.float64)


def _filled(corners: Corners, size: tuple[int, int]) -> Mask:
    """Pixels whose centre lies in a polygon, by the even-odd rule."""
    height, width = size
    toggles = np.zeros((height, width + 1), dtype=np.bool_)
    if len(corners) < 3:
        return toggles[:, :-1]
    outline = corners.tolist()
    for (x, y), (next_x, next_y) in pairwise([*outline, outline[0]]):
        top, bottom = sorted((y, next_y))
        first = min(max(0, int(np.ceil(top - 0.5))), height)
        last = min(max(0, int(np.ceil(bottom - 0.5))), height)
        rows = np.arange(first, last)  # whose centres the edge passes; none if it is level
        if not len(rows):
            continue
        at = x + (rows + 0.5 - y) * (next_x - x) / (next_y - y)
        toggles[rows, np.ceil(at - 0.5).clip(0, width).astype(np.int64)] ^= True
    return np.logical_xor.accumulate(toggles, axis=1)[:, :-1]


def _counts(stored: object) -> tuple[int, ...] | None:
    """Whole numbers from 0 on, listed or compressed; None for anything else."""
    listed = _unpacked(stored) if isinstance(stored, str) else stored
    if not isinstance(listed, list):
        return None
    is_sound = all(isinstance(each, int) and 0 <= each < _LARGEST for each in listed)
    return tuple(listed) if is_sound else None


def _unpacked(text: str) -> list[int]:
    """The lengths of a compressed string: six bits a letter, five of them a number's, low first.

    From the fourth on a number is the difference from the one before the last (COCO's format, as
    `maskApi.c` describes it).
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return counts


def _misfit(got: str, size: tuple[int, int]) -> InputError:
    return InputError(
        f"expected a mask of the picture's {size[1]}x{size[0]}, got {got}: use the picture that "
        "the mask was drawn for"
    )


def _no_polygons(where: str) -> InputError:
    return InputError(
        f"expected polygons in {where}, lists of [x, y] or of numbers x1, y1, x2, ..., got "
        "something else: correct it"
    )
