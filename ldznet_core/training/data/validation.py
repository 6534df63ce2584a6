"""How good a head is on held-out pictures, and which thresholds suit it there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ...data_sets import Row
from ...metrics.overlap import Overlap, mean_iou, overlap, rate
from ...metrics.thresholds import CANDIDATES, best_of, part
from ...picture_files import read_picture
from ...pictures import size_of
from ...segmentation import Segmentation
from ...segmenter import Segmenter

_FIXED = 0.5


@dataclass(frozen=True, slots=True)
class Validation:
    """What was found on held-out pictures.

    Attributes:
        figures: ``validation_miou`` at a threshold of 0.5; where the phrases were asked,
            ``validation_found`` and ``validation_absent_rejected`` at a score of 0.5.
        mask_threshold: of the best mean IoU.
        presence_threshold: the score that parts what is there from what is not; None if nothing
            absent was asked for.
    """

    figures: dict[str, float]
    mask_threshold: float
    presence_threshold: float | None


def validate(segmenter: Segmenter, rows: Iterable[Row]) -> Validation:
    """Segment whole pictures, as users do, and compare.

    Args:
        segmenter: Its own thresholds play no part.
        rows: Those of a picture together; pictures that have another size than their masks are
            left out.
    """
    overlaps: dict[float, list[Overlap]] = {threshold: [] for threshold in CANDIDATES}
    present: list[float] = []
    absent: list[float] = []
    for given, asked, size in _answers(segmenter, rows):
        for index, row in enumerate(asked):
            if row.is_absent:
                absent.append(given.scores[index])
                continue
            present.append(given.scores[index])
            truth = row.truth.mask(size)
            for threshold, found in overlaps.items():
                found.append(overlap(given.probabilities[index].cpu().numpy() > threshold, truth))
    figures = {
        "validation_miou": mean_iou(overlaps[_FIXED]),
        "validation_found": rate([score >= _FIXED for score in present]),
        "validation_absent_rejected": rate([score < _FIXED for score in absent]),
    }
    return Validation(
        figures={name: value for name, value in figures.items() if not np.isnan(value)},
        mask_threshold=best_of(overlaps)[0],
        presence_threshold=part(present, absent) if absent else None,
    )


def _answers(
    segmenter: Segmenter, rows: Iterable[Row]
) -> Iterator[tuple[Segmentation, Sequence[Row], tuple[int, int]]]:
    for path, group in groupby(rows, key=lambda row: row.picture):
        picture = read_picture(path).image
        size = size_of(picture)
        asked = [row for row in group if row.size in (None, size)]
        if asked:
            yield segmenter.segment_image(picture, [row.phrase for row in asked]), asked, size
