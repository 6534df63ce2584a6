"""A head's two thresholds, chosen on held-out scenes and kept in its configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..segmenter import Segmenter
from .cases import Case
from .metrics import mean_iou, overlap

_CANDIDATES = tuple(round(0.05 * number, 2) for number in range(4, 17))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds and what they gave on the scenes that chose them."""

    mask_threshold: float
    presence_threshold: float
    miou: float
    present_found: float
    absent_rejected: float


def calibrate(segmenter: Segmenter, cases: Iterable[Case]) -> Calibration:
    """The mask threshold of the best mean IoU, and the score that best parts there from not there.

    Args:
        segmenter: Its own thresholds play no part.
        cases: Scenes that neither training nor evaluation uses.
    """
    answers: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
    present: list[float] = []
    absent: list[float] = []
    for case in cases:
        texts = [phrase.text for phrase in case.phrases]
        given = segmenter.segment_image(Image.fromarray(case.scene.image), texts)
        for index, phrase in enumerate(case.phrases):
            if phrase.is_absent:
                absent.append(given.scores[index])
            else:
                present.append(given.scores[index])
                answers.append((given.probabilities[index].numpy(), case.mask(phrase)))
    mious = {
        threshold: mean_iou([overlap(each > threshold, truth) for each, truth in answers])
        for threshold in _CANDIDATES
    }
    best = max(mious, key=lambda threshold: mious[threshold])
    parting = part(present, absent)
    return Calibration(
        mask_threshold=best,
        presence_threshold=parting,
        miou=mious[best],
        present_found=float(np.mean(np.asarray(present) >= parting)),
        absent_rejected=float(np.mean(np.asarray(absent) < parting)),
    )


def part(present: Sequence[float], absent: Sequence[float]) -> float:
    """The score at which as few as possible of either kind, in shares, are on the wrong side.

    >>> part([0.9, 0.8], [0.1, 0.4])
    0.6
    """
    scores = np.unique(np.concatenate([present, absent, [0.01, 0.99]]))
    cuts = (scores[1:] + scores[:-1]) / 2
    missed = np.searchsorted(np.sort(present), cuts, "left") / max(1, len(present))
    taken = 1 - np.searchsorted(np.sort(absent), cuts, "left") / max(1, len(absent))
    wrong = missed + taken
    least = np.flatnonzero(wrong <= wrong.min() + 1e-12)
    return round(float(np.median(cuts[least])), 4)
