"""The best, middling and worst masks without a trained head, and noise differences, for the eye."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...metrics.overlap import overlap
from ...miniature import Miniature
from ...segmenter import Segmenter
from ...training_free.noise import clipped
from ..cases import Case
from ..comparison.figures import shares
from ..comparison.sight import Sight
from ..comparison.ways import Answer
from ..masks import LEAST_SIDE
from .ways import NOISE_TIMESTEP

_SIDE = 128
_GAP = 6
_LINE = 16
_EACH = 3
_NOISES = 10
_COLUMNS = ("picture", "truth", "map", "mask")
_NOISE_COLUMNS = ("picture", "truth", "1 noise", f"{_NOISES} noises", "DiffEdit's mask")


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One thing of one case, in pictures of one size."""

    label: str
    iou: float
    is_found: bool
    pictures: tuple[Image.Image, ...]


def draw_sheet(miniature: Miniature, segmenter: Segmenter, cases: Iterable[Case]) -> Image.Image:
    """Three things each of best, median and worst IoU, three not found, and noise differences.

    Args:
        miniature: What looks.
        segmenter: The miniature without a trained head.
        cases: Among whose things the sheet chooses; the noise differences are of the first.
    """
    masks: list[Shown] = []
    noises: list[Shown] = []
    for number, case in enumerate(cases):
        sight = Sight(miniature, case, number)
        masks += _masks_of(sight, segmenter)
        if len(noises) < _EACH:
            noises += _noises_of(sight)[:1]
    found = sorted((each for each in masks if each.is_found), key=lambda shown: -shown.iou)
    middle = max(0, len(found) // 2 - _EACH // 2)
    worst = max(0, len(found) - _EACH)
    parts = [
        ("best of those found", _COLUMNS, found[:_EACH]),
        ("median of those found", _COLUMNS, found[middle : middle + _EACH]),
        ("worst of those found", _COLUMNS, found[worst:]),
        ("first of those not found", _COLUMNS, [each for each in masks if not each.is_found]),
        ("noise difference", _NOISE_COLUMNS, noises),
    ]
    return _stacked([_part(title, columns, rows[:_EACH]) for title, columns, rows in parts])


def _masks_of(sight: Sight, segmenter: Segmenter) -> list[Shown]:
    given = segmenter.segment_latents(sight.latents, sight.phrases, threshold=None)
    shown = []
    for index, truth in _things(sight.case):
        mask = given.masks[index].numpy() > 0.5
        iou = overlap(mask, truth).iou
        label = f"{sight.phrases[index]}: IoU {iou:.2f}, score {given.scores[index]:.2f}"
        pictures = (
            Image.fromarray(sight.case.scene.image),
            _grey(truth),
            _grey(given.probabilities[index].numpy()),
            _grey(mask),
        )
        shown.append(Shown(label, iou, given.found[index], pictures))
    return shown


def _noises_of(sight: Sight) -> list[Shown]:
    each = torch.stack([sight.noise_difference(seed, NOISE_TIMESTEP) for seed in range(_NOISES)])
    one, several = clipped(each[0]), clipped(each.mean(dim=0))
    size = sight.case.scene.labels.shape
    soft = [shares(Answer(maps, maps), size).numpy() for maps in (one, several)]
    binary = shares(Answer(several, several, is_probability=True), size).numpy() > 0.5
    shown = []
    for index, truth in _things(sight.case):
        iou = overlap(binary[index], truth).iou
        label = f"{sight.phrases[index]}: IoU {iou:.2f}"
        pictures = (
            Image.fromarray(sight.case.scene.image),
            _grey(truth),
            *(_grey(maps[index]) for maps in soft),
            _grey(binary[index]),
        )
        shown.append(Shown(label, iou, True, pictures))
    return shown


def _things(case: Case) -> list[tuple[int, NDArray[np.bool_]]]:
    """The phrases of things that are not small, with their truths."""
    present = [
        (index, case.mask(phrase))
        for index, phrase in enumerate(case.phrases)
        if not phrase.is_absent and not case.is_stuff(phrase)
    ]
    return [(index, truth) for index, truth in present if truth.sum() >= LEAST_SIDE**2]


def _grey(values: NDArray[np.float32] | NDArray[np.bool_]) -> Image.Image:
    """Values ``(H, W)`` in [0, 1]; white is 1."""
    return Image.fromarray((values.astype(np.float32) * 255).round().astype(np.uint8))


def _part(title: str, columns: tuple[str, ...], rows: list[Shown]) -> Image.Image:
    """The rows under a heading, each with its label above its pictures."""
    height = _LINE + len(rows) * (_LINE + _SIDE + _GAP)
    part = Image.new("RGB", (len(columns) * (_SIDE + _GAP) + _GAP, height), "white")
    draw = ImageDraw.Draw(part)
    draw.text((_GAP, 2), f"{title}: {', '.join(columns)}", fill="black")
    for index, row in enumerate(rows):
        top = _LINE + index * (_LINE + _SIDE + _GAP)
        draw.text((_GAP, top + 2), row.label, fill="black")
        for column, picture in enumerate(row.pictures):
            place = (_GAP + column * (_SIDE + _GAP), top + _LINE)
            part.paste(picture.convert("RGB").resize((_SIDE, _SIDE)), place)
    return part


def _stacked(parts: list[Image.Image]) -> Image.Image:
    """Parts two in a line, the first beside the second."""
    lines = [parts[start : start + 2] for start in range(0, len(parts), 2)]
    widths = [sum(part.width for part in line) for line in lines]
    heights = [max(part.height for part in line) for line in lines]
    sheet = Image.new("RGB", (max(widths), sum(heights) + _GAP), "white")
    for number, line in enumerate(lines):
        left = 0
        for part in line:
            sheet.paste(part, (left, sum(heights[:number]) + _GAP))
            left += part.width
    return sheet
