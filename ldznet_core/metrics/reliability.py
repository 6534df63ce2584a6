"""Whether probabilities keep their word: of what is given 0.8, four in five should be true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

BINS = 20


@dataclass(frozen=True, slots=True)
class Bin:
    """Statements of about one probability."""

    count: int
    stated: float
    """The mean probability."""
    true: float
    """The share that is true."""


@dataclass(frozen=True, slots=True)
class ReliabilityFigures:
    """How far probabilities are from what is true."""

    count: int
    error: float
    """The expected calibration error: the bins' distances between stated and true, by count."""
    bins: tuple[Bin, ...]
    """Those with statements, by rising probability."""


class Reliability:
    """Compares probabilities with the truth in bins of one width; its memory does not grow."""

    def __init__(self, bins: int = BINS) -> None:
        """Begin with no statements."""
        self._counts = np.zeros(bins, dtype=np.int64)
        self._stated = np.zeros(bins)
        self._true = np.zeros(bins, dtype=np.int64)

    def add(self, probabilities: ArrayLike, truths: ArrayLike) -> None:
        """Count statements.

        Args:
            probabilities: In [0, 1], of any shape.
            truths: Booleans of the same shape.
        """
        stated = np.asarray(probabilities).ravel()
        bins = len(self._counts)
        places = np.minimum((stated * bins).astype(np.int64), bins - 1)
        self._counts += np.bincount(places, minlength=bins)
        self._stated += np.bincount(places, weights=stated, minlength=bins)
        self._true += np.bincount(places[np.asarray(truths).ravel()], minlength=bins)

    def figures(self) -> ReliabilityFigures | None:
        """The figures so far; None without statements."""
        count = int(self._counts.sum())
        if not count:
            return None
        filled = self._counts > 0
        counts = self._counts[filled]
        stated, true = self._stated[filled] / counts, self._true[filled] / counts
        return ReliabilityFigures(
            count=count,
            error=float((counts * abs(stated - true)).sum() / count),
            bins=tuple(
                Bin(int(number), float(one), float(other))
                for number, one, other in zip(counts, stated, true, strict=True)
            ),
        )
