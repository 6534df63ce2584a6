"""The best, middling and worst masks without a trained head, and noise differences, for the eye."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from PIL import Image

from ...metrics.overlap import overlap
from ...miniature import Miniature
from ...segmenter import Segmenter
from ...training_free.noise import clipped
from ..cases import Case
from ..comparison.figures import shares
from ..comparison.sight import Sight
from ..comparison.ways import Answer
from ..masks import is_small
from ..pictures.ranked import EACH, ranked_parts
from ..pictures.rows import Part, Row, grey, sheet_of
from .ways import NOISE_TIMESTEP

_NOISES = 10
_COLUMNS = ("picture", "truth", "1 noise", f"{_NOISES} noises", "DiffEdit's mask")


def draw_sheet(miniature: Miniature, segmenter: Segmenter, cases: Iterable[Case]) -> Image.Image:
    """Masks by their IoU as of any head, and below them noise differences.

    Args:
        miniature: What looks.
        segmenter: The miniature without a trained head.
        cases: Among whose things the sheet chooses; the noise differences are of the first.
    """
    asked = list(cases)
    sights = (Sight(miniature, case, number) for number, case in enumerate(asked[:EACH]))
    noises = tuple(row for sight in sights for row in _noises_of(sight)[:1])
    parts = ranked_parts(segmenter, asked)
    return sheet_of([*parts, Part("noise difference", _COLUMNS, noises)])


def _noises_of(sight: Sight) -> list[Row]:
    each = torch.stack([sight.noise_difference(seed, NOISE_TIMESTEP) for seed in range(_NOISES)])
    one, several = clipped(each[0]), clipped(each.mean(dim=0))
    size = sight.case.scene.labels.shape
    soft = [shares(Answer(maps, maps), size).numpy() for maps in (one, several)]
    binary = shares(Answer(several, several, is_probability=True), size).numpy() > 0.5
    rows = []
    for index, phrase in enumerate(sight.case.phrases):
        truth = sight.case.mask(phrase)
        if phrase.is_absent or sight.case.is_stuff(phrase) or is_small(truth):
            continue
        pictures = (
            Image.fromarray(sight.case.scene.image),
            grey(truth),
            *(grey(maps[index]) for maps in soft),
            grey(binary[index]),
        )
        iou = overlap(binary[index], truth).iou
        rows.append(Row(f"{phrase.text}: IoU {iou:.2f}", pictures))
    return rows
