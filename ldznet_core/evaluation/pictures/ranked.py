"""A head's best, middling and worst masks, and its errors of presence, chosen by figures alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from ...metrics.overlap import overlap
from ...miniature import Miniature
from ...segmentation import Segmentation
from ...segmenter import Segmenter
from ..cases import Case
from ..masks import is_small, segmented
from .rows import Part, Row, grey, sheet_of

EACH = 3
"""Rows of a part."""

_COLUMNS = ("picture", "truth", "map", "mask")


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """A phrase of a case, and how good its mask is."""

    row: Row
    iou: float
    score: float
    is_found: bool
    is_absent: bool


def ranked_parts(
    segmenter: Segmenter, cases: Iterable[Case], painter: Miniature | None = None
) -> list[Part]:
    """Three masks of things each of best, median and worst IoU, and what was told wrongly.

    Args:
        segmenter: Whose masks they are, at its own thresholds.
        cases: Among whose things and absent phrases is chosen; small things are left out.
        painter: Paints each scene anew; None leaves them as they are.
    """
    shown: list[_Shown] = []
    for case, given, picture in segmented(segmenter, cases, painter=painter):
        shown += _shown_of(case, picture, given)
    things = [each for each in shown if not each.is_absent]
    absent = [each for each in shown if each.is_absent]
    found = sorted((each for each in things if each.is_found), key=lambda each: -each.iou)
    believed = sorted((each for each in absent if each.is_found), key=lambda each: -each.score)
    middle, worst = max(0, len(found) // 2 - EACH // 2), max(0, len(found) - EACH)
    denied = [each for each in things if not each.is_found]
    parts = {
        "best of those found": found[:EACH],
        "median of those found": found[middle : middle + EACH],
        "worst of those found": found[worst:],
        f"not found, {len(denied)} of {len(things)}": denied[:EACH],
        f"absent, yet told to be there, {len(believed)} of {len(absent)}": believed[:EACH],
    }
    return [
        Part(title, _COLUMNS, tuple(each.row for each in rows)) for title, rows in parts.items()
    ]


def draw_ranked(
    segmenter: Segmenter, cases: Iterable[Case], painter: Miniature | None = None
) -> Image.Image:
    """The parts as a sheet; arguments as of `ranked_parts`."""
    return sheet_of(ranked_parts(segmenter, cases, painter))


def _shown_of(case: Case, picture: Image.Image, given: Segmentation) -> list[_Shown]:
    shown = []
    for index, phrase in enumerate(case.phrases):
        truth = case.mask(phrase)
        if not phrase.is_absent and (case.is_stuff(phrase) or is_small(truth)):
            continue
        mask, score = given.masks[index].numpy() > 0.5, given.scores[index]
        iou = overlap(mask, truth).iou
        said = f"score {score:.2f}" if phrase.is_absent else f"IoU {iou:.2f}, score {score:.2f}"
        probability = given.probabilities[index].numpy()
        row = Row(f"{phrase.text}: {said}", (picture, grey(truth), grey(probability), grey(mask)))
        shown.append(_Shown(row, iou, score, given.found[index], phrase.is_absent))
    return shown
