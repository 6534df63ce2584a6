"""CLIPSeg's protocol: masks at 49 thresholds, and the IoUs and the precision of each.

Written from the definitions of `FixedIntervalMetrics` (timojl/clipseg@77c4e2d), which LD-ZNet's
configuration names too. Each IoU has one pixel more in its denominator. A "best" figure has the
threshold that suits it best on the very phrases that are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

THRESHOLDS = tuple(round(0.02 * number, 2) for number in range(1, 50))
"""The protocol's, 0.02 to 0.98."""

Probabilities = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Best:
    """The highest value of a curve and where it is reached first."""

    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Ious:
    """The three IoUs of a threshold."""

    miou: float
    """The mean over phrases."""
    iou_fg: float
    """Of all phrases' pixels together."""
    iou_bin: float
    """The mean of that IoU and the background's."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Everything at each of `THRESHOLDS`; precision is None where no pixel is taken."""

    thresholds: tuple[float, ...]
    miou: tuple[float, ...]
    iou_fg: tuple[float, ...]
    iou_bin: tuple[float, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClipSegFigures:
    """What the protocol says of some phrases."""

    phrases: int
    threshold: float
    """The fixed one."""
    fixed: Ious
    best_miou: Best
    best_iou_fg: Best
    best_iou_bin: Best
    ap: float | None
    """Simpson's integral of precision over recall; None where no threshold takes any pixel."""
    curve: Curve


class ClipSegTally:
    """Counts pixels phrase by phrase; its memory does not grow with them."""

    def __init__(self, threshold: float) -> None:
        """Begin with no phrases.

        Args:
            threshold: The fixed one, which is measured besides `THRESHOLDS`.
        """
        self.threshold = threshold
        cuts = sorted({*THRESHOLDS, threshold})
        self._cuts = np.array(cuts, dtype=np.float32)  # probabilities are compared as torch does
        self._fixed = cuts.index(threshold)
        self._grid = np.array([cut in THRESHOLDS for cut in cuts])
        self._pixels = np.zeros((4, len(cuts)), dtype=np.int64)
        self._ious = np.zeros(len(cuts))
        self._phrases = 0

    def add(self, probabilities: Probabilities, truth: Mask) -> None:
        """Count a phrase.

        Args:
            probabilities: ``(H, W)`` in [0, 1].
            truth: ``(H, W)``.

        Raises:
            InputError: The two are of different shapes.
        """
        pixels = _counted(probabilities, truth, self._cuts)
        self._pixels += pixels
        self._ious += _iou(*pixels[:3])
        self._phrases += 1

    def figures(self) -> ClipSegFigures:
        """The figures of all phrases so far.

        Raises:
            InputError: There are none.
        """
        if not self._phrases:
            raise InputError(
                "expected at least one phrase to measure, got none: name another split"
            )
        right, wrong, missed, left = self._pixels
        miou = self._ious / self._phrases
        iou_fg = _iou(right, wrong, missed)
        iou_bin = (iou_fg + _iou(left, missed, wrong)) / 2
        precision, recall = right / (1 + right + wrong), right / (1 + right + missed)
        is_taken = right + wrong > 0
        points = list(zip(recall[self._grid & is_taken], precision[self._grid & is_taken]))  # noqa: B905
        return ClipSegFigures(
            phrases=self._phrases,
            threshold=self.threshold,
            fixed=Ious(*(float(each[self._fixed]) for each in (miou, iou_fg, iou_bin))),
            best_miou=_best(miou[self._grid]),
            best_iou_fg=_best(iou_fg[self._grid]),
            best_iou_bin=_best(iou_bin[self._grid]),
            ap=_area(points),
            curve=Curve(
                thresholds=THRESHOLDS,
                miou=tuple(miou[self._grid].tolist()),
                iou_fg=tuple(iou_fg[self._grid].tolist()),
                iou_bin=tuple(iou_bin[self._grid].tolist()),
                precision=tuple(
                    float(value) if taken else None
                    for value, taken in zip(
                        precision[self._grid], is_taken[self._grid], strict=True
                    )
                ),
                recall=tuple(recall[self._grid].tolist()),
            ),
        )


def simpson(x: Sequence[float], y: Sequence[float]) -> float:
    """Simpson's integral of points at any distances, sorted by ``x``.

    Of an even number of points it is the mean of two: one with a trapezium at the end, one with it
    at the beginning. So did `scipy.integrate.simps` when the protocol was written (before SciPy
    1.11). Where two points share their ``x``, no parabola goes through them, and trapezia stand in.

    >>> simpson([0.0, 1.0, 2.0], [0.0, 1.0, 4.0])
    2.6666666666666665
    """
    if len(x) % 2:
        return _parabolas(x, y)
    early = _parabolas(x[:-1], y[:-1]) + _trapezium(x[-2:], y[-2:])
    late = _trapezium(x[:2], y[:2]) + _parabolas(x[1:], y[1:])
    return (early + late) / 2


def _counted(
    probabilities: Probabilities, truth: Mask, cuts: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Pixels rightly taken, wrongly taken, missed and rightly left, ``(4, cuts)``."""
    if probabilities.shape != truth.shape:
        raise InputError(
            f"expected a truth of the probabilities' shape {probabilities.shape}, got "
            f"{truth.shape}: resize one of them"
        )
    below = np.searchsorted(cuts, probabilities.ravel(), side="left")  # cuts below each pixel
    taken = _at_least(below, len(cuts))
    right = _at_least(below[truth.ravel()], len(cuts))
    wrong, missed = taken - right, int(truth.sum()) - right
    return np.stack([right, wrong, missed, truth.size - taken - missed])


def _at_least(below: NDArray[np.int64], cuts: int) -> NDArray[np.int64]:
    """How many pixels lie above each cut."""
    found = np.bincount(below, minlength=cuts + 1)
    above: NDArray[np.int64] = found[::-1].cumsum()[::-1][1:]
    return above


def _iou(
    right: NDArray[np.int64], wrong: NDArray[np.int64], missed: NDArray[np.int64]
) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = right / (1 + right + wrong + missed)
    return shares


def _best(values: NDArray[np.float64]) -> Best:
    index = int(values.argmax())
    return Best(float(values[index]), THRESHOLDS[index])


def _area(points: list[tuple[float, float]]) -> float | None:
    """Below the curve of (recall, precision), not extended to recalls of 0 or 1."""
    if not points:
        return None
    recalls, precisions = zip(*sorted(set(points)), strict=True)
    return float(simpson(recalls, precisions))


def _parabolas(x: Sequence[float], y: Sequence[float]) -> float:
    """An odd number of points, three by three."""
    total = 0.0
    for start in range(0, len(x) - 2, 2):
        near, far = x[start + 1] - x[start], x[start + 2] - x[start + 1]
        if near <= 0 or far <= 0:
            total += _trapezium(x[start : start + 2], y[start : start + 2])
            total += _trapezium(x[start + 1 : start + 3], y[start + 1 : start + 3])
            continue
        whole = near + far
        total += (whole / 6) * (
            y[start] * (2 - far / near)
            + y[start + 1] * whole**2 / (near * far)
            + y[start + 2] * (2 - near / far)
        )
    return total


def _trapezium(x: Sequence[float], y: Sequence[float]) -> float:
    return (x[1] - x[0]) * (y[0] + y[1]) / 2
