"""Average precision of all pixels together, without integrals of a few points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SHIFT = 14  # of a float's 23 bits of mantissa 9 are kept
_HALF = int(np.float32(0.5).view(np.int32)) >> _SHIFT


class PixelRanking:
    """How well probabilities rank the pixels of truths; its memory does not grow with them.

    Probabilities that differ by less than 1/512 of their distance from 0 or 1, whichever is nearer,
    may share a place in the ranking.
    """

    def __init__(self) -> None:
        """Begin with no pixels."""
        self._taken = np.zeros(2 * _HALF + 2, dtype=np.int64)
        self._right = np.zeros_like(self._taken)

    def add(self, probabilities: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
        """Rank more pixels.

        Args:
            probabilities: In [0, 1], of any shape.
            truth: Of the same shape.
        """
        places = _places(np.asarray(probabilities, dtype=np.float32).ravel())
        self._taken += np.bincount(places, minlength=len(self._taken))
        self._right += np.bincount(places[truth.ravel()], minlength=len(self._taken))

    def average_precision(self) -> float | None:
        """The mean over the truths' pixels of the precision down to each; None without such pixels.

        In the usual words: the sum of precisions at each threshold, weighted by the recall gained.
        """
        right = self._right[::-1].cumsum()
        return average_precision(self._taken[::-1].cumsum(), right) if right[-1] else None


def average_precision(taken: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    """The mean over the truth's pixels of the precision down to each.

    Args:
        taken: Pixels down to each place of a ranking, from the highest on.
        right: Those of them that the truth has; at the end at least one.
    """
    precision = right / np.maximum(taken, 1)
    return float((precision * np.diff(right, prepend=0)).sum() / right[-1])


def _places(probabilities: NDArray[np.float32]) -> NDArray[np.int32]:
    """Places from 0 on in the order of probabilities, finest near 0 and 1.

    The bits of a positive float are in its order, as a whole number.
    """
    from_end = np.minimum(probabilities, 1 - probabilities)  # exact
    bits = from_end.clip(0).astype(np.float32).view(np.int32) >> _SHIFT
    places: NDArray[np.int32] = np.where(probabilities <= 0.5, bits, 2 * _HALF + 1 - bits)
    return places
