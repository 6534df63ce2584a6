"""A head's two thresholds, chosen on held-out scenes and kept in its configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..metrics.overlap import overlap
from ..metrics.thresholds import CANDIDATES, best_of, part
from ..segmenter import Segmenter
from .cases import Case


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
    best, miou = best_of(
        {
            threshold: [overlap(each > threshold, truth) for each, truth in answers]
            for threshold in CANDIDATES
        }
    )
    parting = part(present, absent)
    return Calibration(
        mask_threshold=best,
        presence_threshold=parting,
        miou=miou,
        present_found=float(np.mean(np.asarray(present) >= parting)),
        absent_rejected=float(np.mean(np.asarray(absent) < parting)),
    )
