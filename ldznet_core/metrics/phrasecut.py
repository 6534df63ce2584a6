"""PhraseCut's protocol: one mask for each phrase, at the size of its picture.

Written from the definitions of the data set's evaluator (ChenyunWu/PhraseCutDataset@276470b). A
phrase without a mask counts as one with an empty mask; the evaluator says so for the mean IoU, and
here it holds for all figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

ACCURACIES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""IoUs that a mask must exceed to count as right."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PhraseCutFigures:
    """What the protocol says of some phrases' masks."""

    phrases: int
    missing: int
    mean_iou: float
    """The mean over phrases."""
    cumulative_iou: float
    """Of all phrases' pixels together."""
    accuracy: tuple[float, ...]
    """The share of phrases above each IoU of `ACCURACIES`."""


class PhraseCutTally:
    """Counts masks phrase by phrase; its memory does not grow with them."""

    def __init__(self) -> None:
        """Begin with no phrases."""
        self._phrases = self._missing = self._shared = self._either = 0
        self._ious = 0.0
        self._right = np.zeros(len(ACCURACIES), dtype=np.int64)

    def add(self, mask: Mask | None, truth: Mask) -> None:
        """Count a phrase.

        Args:
            mask: ``(H, W)``; None is a phrase that was not found.
            truth: ``(H, W)``.

        Raises:
            InputError: The two are of different shapes.
        """
        if mask is not None and mask.shape != truth.shape:
            raise InputError(
                f"expected a mask of the truth's shape {truth.shape}, got {mask.shape}: give masks "
                "at the size of the picture"
            )
        shared = 0 if mask is None else int((mask & truth).sum())
        either = int(truth.sum() if mask is None else (mask | truth).sum())
        iou = shared / either if shared else 0.0
        self._phrases += 1
        self._missing += mask is None
        self._shared += shared
        self._either += either
        self._ious += iou
        self._right += iou > np.array(ACCURACIES)

    def figures(self) -> PhraseCutFigures:
        """The figures of all phrases so far.

        Raises:
            InputError: There are none.
        """
        if not self._phrases:
            raise InputError(
                "expected at least one phrase to measure, got none: name another split"
            )
        return PhraseCutFigures(
            phrases=self._phrases,
            missing=self._missing,
            mean_iou=self._ious / self._phrases,
            cumulative_iou=self._shared / self._either if self._either else 0.0,
            accuracy=tuple((self._right / self._phrases).tolist()),
        )
