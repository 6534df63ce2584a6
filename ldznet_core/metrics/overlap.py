"""How good masks are: overlap, and the honesty of "not there"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Pixels that a mask and the truth share, and those that either has."""

    shared: int
    either: int

    @property
    def iou(self) -> float:
        """Intersection over union in [0, 1]; 1 if both are empty."""
        return self.shared / self.either if self.either else 1.0


def overlap(mask: Mask, truth: Mask) -> Overlap:
    """The overlap of two masks ``(H, W)``.

    >>> overlap(np.array([[True, True]]), np.array([[True, False]])).iou
    0.5
    """
    return Overlap(int((mask & truth).sum()), int((mask | truth).sum()))


def mean_iou(overlaps: Sequence[Overlap]) -> float:
    """The mean of each phrase's IoU (PhraseCut's mean-IoU); NaN of none."""
    return float(np.mean([each.iou for each in overlaps])) if overlaps else float("nan")


def cumulative_iou(overlaps: Sequence[Overlap]) -> float:
    """All shared pixels over all pixels of either (PhraseCut's cum-IoU); NaN of none."""
    either = sum(each.either for each in overlaps)
    return sum(each.shared for each in overlaps) / either if either else float("nan")


def rate(facts: Sequence[bool]) -> float:
    """The share that is true; NaN of none."""
    return float(np.mean(facts)) if facts else float("nan")
