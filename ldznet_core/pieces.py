"""The pieces of a mask: what hangs together in it, each a mask of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import InputError
from .masks import EDGE

Order: TypeAlias = Literal["left to right", "top to bottom", "largest first"]
"""How pieces follow each other: by the mean place of their pixels above 0.5, or their number."""

ORDERS: tuple[Order, ...] = get_args(Order)

LEAST_AREA = 0.1
"""Percent of the picture; less is a crumb, such as 16 x 16 pixels of 512 x 512."""

_MOST_VALUES = 2**30  # 4 GiB of float32, as 256 pieces of 2048 x 2048 pixels take

_NOBODY = -1

_Integers: TypeAlias = NDArray[np.int64]
_Reals: TypeAlias = NDArray[np.float64]
_Booleans: TypeAlias = NDArray[np.bool_]


def split(
    mask: Tensor,
    least_area: float = LEAST_AREA,
    most: int | None = None,
    order: Order = "left to right",
) -> Tensor:
    """The pieces of a mask, which share no pixel.

    Pixels above 0.5 that touch, if only by a corner, are of one piece. Softer ones above 0 go to
    the piece that is reached from them in the fewest steps, from pixel to touching pixel above 0.
    So a piece keeps its soft edge, and where those of two meet, each has its half. What is soft
    and leads to no piece within H + W steps is of none; what is of a piece that is dropped goes
    with it.

    Args:
        mask: ``(H, W)`` in [0, 1].
        least_area: Percent of the picture that a piece must have above 0.5 to be kept.
        most: How many of the largest pieces are kept; None is all.
        order: Where it leaves a choice, the larger piece comes first; of equally large ones, the
            one whose first pixel above 0.5 is further up, or further left in the same row.

    Returns:
        ``(P, H, W)``: the mask's values within a piece, 0 elsewhere; its device and dtype. P is 0
        where no piece is left.

    Raises:
        InputError: An argument cannot be used, or the pieces would take more than 2^30 values.
    """
    _check(mask, least_area, most, order)
    is_inside = _on_host(mask > EDGE)
    pieces = _pieces(is_inside)
    kept = _kept(pieces, least_area / 100 * mask.numel(), most)
    if len(kept) * mask.numel() > _MOST_VALUES:
        raise InputError(
            f"expected at most {_MOST_VALUES // mask.numel()} pieces of a mask of "
            f"{tuple(mask.shape)}, got {len(kept)}: raise least_area, or set most"
        )
    labels = np.full(is_inside.shape, _NOBODY, dtype=np.int64)
    labels[is_inside] = pieces.of_pixels
    places = np.full(len(pieces.areas) + 1, _NOBODY, dtype=np.int64)  # the last is nobody's
    places[_ordered(pieces, kept, order)] = np.arange(len(kept))
    return _taken_apart(mask, places[_spread(labels, _on_host(mask > 0))], len(kept))


def _check(mask: Tensor, least_area: float, most: int | None, order: str) -> None:
    if mask.ndim != 2 or 0 in mask.shape:
        raise InputError(
            f"expected a mask (H, W) with pixels, got {tuple(mask.shape)}: give one mask at a time"
        )
    if not 0 <= least_area <= 100:
        raise InputError(
            f"expected a least area in percent, from 0 to 100, got {least_area}: give a share of "
            "the picture"
        )
    if most is not None and most < 1:
        raise InputError(f"expected at least 1 piece to keep, got {most}: give more, or None")
    if order not in ORDERS:
        raise InputError(f"expected one of the orders {', '.join(ORDERS)}, got {order!r}: name one")


def _on_host(pixels: Tensor) -> _Booleans:
    found: _Booleans = pixels.cpu().numpy()
    return found


@dataclass(frozen=True, slots=True)
class _Pieces:
    """N pieces, numbered in reading order of their first pixels."""

    of_pixels: _Integers
    """The piece of each pixel above the edge, in reading order."""
    areas: _Integers
    """``(N,)`` pixels."""
    rows: _Reals
    columns: _Reals
    """``(N,)``: where the centres lie."""


def _pieces(is_inside: _Booleans) -> _Pieces:
    """The pieces of what is inside, ``(H, W)``, by its runs: pixels side by side in a row."""
    stride = is_inside.shape[1] + 1  # all rows in one line, with a gap after each
    line = np.pad(is_inside, ((0, 0), (0, 1))).ravel()
    changes = np.flatnonzero(np.diff(line, prepend=False))
    starts, ends = changes[::2], changes[1::2]
    lengths, (rows, columns) = ends - starts, np.divmod(starts, stride)
    of_runs = _united(len(starts), *_touching(starts, ends, stride))
    areas = np.bincount(of_runs, lengths)
    return _Pieces(
        np.repeat(of_runs, lengths),
        areas.astype(np.int64),
        np.bincount(of_runs, lengths * rows) / areas,
        np.bincount(of_runs, lengths * (columns + (lengths - 1) / 2)) / areas,
    )


def _touching(starts: _Integers, ends: _Integers, stride: int) -> tuple[_Integers, _Integers]:
    """The pairs of runs that touch: the upper one of each, and the one in the row below it."""
    first = np.searchsorted(ends, starts + stride)  # one that ends where this starts has a corner
    counts = np.searchsorted(starts, ends + stride, side="right") - first
    upper = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    return upper, lower


def _united(count: int, first: _Integers, second: _Integers) -> _Integers:
    """The piece that each run is of, ``(count,)``, from the pairs of runs that touch.

    Union-find on all pairs at once; the root of a piece is its first run. Within two rounds each
    root that is not alone is hung onto a lower one, or one onto it: the roots of a piece halve.
    """
    roots = np.arange(count, dtype=np.int64)
    while len(first):
        np.minimum.at(roots, np.maximum(first, second), np.minimum(first, second))
        while not np.array_equal(above := roots[roots], roots):
            roots = above
        first, second = roots[first], roots[second]
        is_apart = first != second
        first, second = first[is_apart], second[is_apart]
    is_root = roots == np.arange(count)
    return (np.cumsum(is_root) - 1)[roots]


def _kept(pieces: _Pieces, least_pixels: float, most: int | None) -> _Integers:
    """The pieces that are kept, the largest first."""
    by_size = np.argsort(-pieces.areas, kind="stable")
    rounded = round(least_pixels, 6)  # 0.07 % of 10000 pixels are 7, and not a little more
    return by_size[pieces.areas[by_size] >= rounded][:most]


def _ordered(pieces: _Pieces, kept: _Integers, order: Order) -> _Integers:
    if order == "largest first":
        return kept
    centres = pieces.columns if order == "left to right" else pieces.rows
    return kept[np.argsort(centres[kept], kind="stable")]


def _spread(labels: _Integers, is_given: _Booleans) -> _Integers:
    """Labels ``(H, W)`` that have spread over what is given, one step of a pixel after another."""
    stride = labels.shape[1] + 2  # a margin all around, which nothing spreads over
    steps = (-stride, -1, 1, stride, -stride - 1, 1 - stride, stride - 1, stride + 1)
    spread = np.pad(labels, 1, constant_values=_NOBODY).ravel()
    is_open = np.pad(is_given, 1).ravel() & (spread == _NOBODY)
    if not is_open.any():
        return labels
    front = np.flatnonzero(spread != _NOBODY)
    for _ in range(sum(labels.shape)):  # a labyrinth of soft pixels could take minutes
        reached = []
        for step in steps:  # straight ones first, so that they win over those across a corner
            source = front[is_open[front + step]]
            spread[source + step] = spread[source]
            is_open[source + step] = False
            reached.append(source + step)
        front = np.concatenate(reached)
        if not len(front):
            break
    return spread.reshape(-1, stride)[1:-1, 1:-1]


def _taken_apart(mask: Tensor, places: _Integers, count: int) -> Tensor:
    """``(count, H, W)`` masks, each of the pixels whose place is its own."""
    places = places.ravel()
    pixels = np.flatnonzero(places != _NOBODY)
    within = torch.from_numpy(pixels).to(mask.device)
    targets = torch.from_numpy(places[pixels] * places.size + pixels).to(mask.device)
    pieces = mask.new_zeros(count * places.size)
    pieces[targets] = mask.flatten()[within]
    return pieces.reshape(count, *mask.shape)
