"""The two thresholds of a head, chosen by what it gave on held-out pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .overlap import Overlap, mean_iou

CANDIDATES = tuple(round(0.05 * number, 2) for number in range(4, 17))
"""Mask thresholds, of which the best one is chosen."""

REJECTED = 0.93
"""Share of absent phrases that the presence threshold rejects on the pictures that choose it."""

_LEAST = 1e-4


def best_of(overlaps: Mapping[float, Sequence[Overlap]]) -> tuple[float, float]:
    """The threshold under which masks and truths overlap best, and their mean IoU there.

    Args:
        overlaps: Of all masks by threshold; of equals the first is taken.
    """
    mious = {threshold: mean_iou(each) for threshold, each in overlaps.items()}
    best = max(mious, key=lambda threshold: mious[threshold])
    return best, mious[best]


def part(present: Sequence[float], absent: Sequence[float], rejected: float = REJECTED) -> float:
    """The lowest score that rejects this share of what is not there, clear of what is.

    Neither 0 nor 1, which would find everything and nothing.

    >>> part([0.9, 0.8], [0.1, 0.4])
    0.6
    """
    floor = float(np.quantile(absent, rejected, method="higher"))
    above = [score for score in present if score > floor]
    middle = (floor + min(above, default=1.0)) / 2
    return min(max(round(middle, 4), _LEAST), 1 - _LEAST)
