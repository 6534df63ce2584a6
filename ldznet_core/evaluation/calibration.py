"""A head's two thresholds, chosen on held-out scenes and kept in its configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..segmenter import Segmenter
from .cases import Case
from .metrics.overlap import mean_iou, overlap

REJECTED = 0.93
"""Share of absent phrases that the presence threshold rejects on the scenes that choose it."""

CANDIDATES = tuple(round(0.05 * number, 2) for number in range(4, 17))
"""Mask thresholds, of which the best one is chosen."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds and what they gave on the scenes that chose them."""

    mask_threshold: float
    presence_threshold: float
    miou: float
    present_found: float
    absent_rejected: float


def calibrate(segmenter: Segmenter, cases: Iterable[Case]) -> Calibration:
    """The mask threshold of the best mean IoU, and the lowest score that denies what is absent.

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
        for threshold in CANDIDATES
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


def part(present: Sequence[float], absent: Sequence[float], rejected: float = REJECTED) -> float:
    """The lowest score that rejects this share of what is not there, clear of what is.

    >>> part([0.9, 0.8], [0.1, 0.4])
    0.6
    """
    floor = float(np.quantile(absent, rejected, method="higher"))
    above = [score for score in present if score > floor]
    return round((floor + min(above, default=1.0)) / 2, 4)
