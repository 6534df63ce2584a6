"""The segmenter on held-out scenes: the masks and verdicts that users would get."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..metrics.overlap import Overlap, cumulative_iou, mean_iou, overlap, rate
from ..miniature import Miniature
from ..segmentation import Segmentation
from ..segmenter import Segmenter
from .cases import Case
from .shown import show

LEAST_SIDE = 24
"""Things smaller than a square of this side in pixels are counted apart."""


@dataclass
class MaskFigures:
    """What was measured, phrase by phrase."""

    things: list[Overlap] = field(default_factory=list)
    small_things: list[Overlap] = field(default_factory=list)
    stuff: list[Overlap] = field(default_factory=list)
    found_present: list[bool] = field(default_factory=list)
    rejected_absent: list[bool] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """The figures by name; shares and IoUs in [0, 1], those of nothing left out."""
        figures = {
            "things_miou": mean_iou(self.things),
            "things_cumulative_iou": cumulative_iou(self.things),
            "small_things_miou": mean_iou(self.small_things),
            "stuff_miou": mean_iou(self.stuff),
            "present_found": rate(self.found_present),
            "absent_rejected": rate(self.rejected_absent),
            "things": len(self.things),
            "small_things": len(self.small_things),
            "stuff": len(self.stuff),
            "absent": len(self.rejected_absent),
        }
        return {name: figure for name, figure in figures.items() if not math.isnan(figure)}


def evaluate_masks(
    segmenter: Segmenter,
    cases: Iterable[Case],
    threshold: float | None = None,
    painter: Miniature | None = None,
) -> MaskFigures:
    """Segment every case's picture: by probes, or by what was captured while it was painted anew.

    A thing that is not found has an empty mask, and so an IoU of 0.

    Args:
        segmenter: What is measured.
        cases: The pictures, phrases and truths.
        threshold: Of the masks; None is the head's own.
        painter: Paints each scene anew; None leaves them as they are.
    """
    figures = MaskFigures()
    for case, given, _ in segmented(segmenter, cases, threshold, painter):
        for index, phrase in enumerate(case.phrases):
            if phrase.is_absent:
                figures.rejected_absent.append(not given.found[index])
                continue
            truth = case.mask(phrase)
            found = overlap(given.masks[index].numpy() > 0.5, truth)
            figures.found_present.append(given.found[index])
            if case.is_stuff(phrase):
                figures.stuff.append(found)
            elif is_small(truth):
                figures.small_things.append(found)
            else:
                figures.things.append(found)
    return figures


def segmented(
    segmenter: Segmenter,
    cases: Iterable[Case],
    threshold: float | None = None,
    painter: Miniature | None = None,
) -> Iterator[tuple[Case, Segmentation, Image.Image]]:
    """Each case, what is said of its phrases, and the picture that was looked at.

    Arguments are as of `evaluate_masks`.
    """
    for number, case in enumerate(cases):
        shown = show(case, number, painter)
        texts = [phrase.text for phrase in case.phrases]
        yield case, shown.segment(segmenter, texts, threshold), shown.picture


def is_small(truth: np.ndarray) -> bool:
    """Whether a thing's mask is smaller than the square of `LEAST_SIDE`."""
    return int(truth.sum()) < LEAST_SIDE**2
