"""Ways to masks measured alike: thresholds from one split, figures from another, and the cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...metrics.ranking import average_precision
from ...miniature import Miniature
from ...training_free.grids import enlarged
from ..cases import Case
from ..masks import is_small
from ..tables import markdown, short
from .sight import Sight
from .ways import Answer, Way

REJECTED = 0.8
"""Share of absent phrases that a way's presence threshold rejects where it is chosen."""

THRESHOLDS = tuple(round(0.05 * number, 2) for number in range(1, 20))
"""Of masks, among which each way has its own."""

_LEVELS = 16384  # so many that probabilities near 0 and 1 keep their order
_PAIRS = 3
_HEADINGS = (
    "way",
    *("things: AP", "mIoU", "gated"),
    *("stuff: AP", "mIoU", "gated"),
    *("things found", "absent rejected", "mask at", "passes"),
)

Kind: TypeAlias = Literal["thing", "small thing", "stuff"]

NAMES: dict[Kind, str] = {"thing": "things", "stuff": "stuff"}
"""The kinds that figures are given of, and how these begin."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a way said of one phrase that is there."""

    kind: Kind
    presence: float
    precision: float
    """Average precision of the map's pixels."""
    ious: tuple[float, ...]
    """With each of `THRESHOLDS`."""
    scene: int = 0
    """The number of the case."""


@dataclass(slots=True)
class Tally:
    """What a way said of every phrase of some cases."""

    verdicts: list[Verdict] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)
    """The presence of phrases that are not there."""

    def of(self, kind: Kind) -> list[Verdict]:
        """The verdicts on one kind."""
        return [each for each in self.verdicts if each.kind == kind]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A way's own thresholds."""

    mask: float
    presence: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a way reaches; shares and IoUs in [0, 1]."""

    things_precision: float
    things_miou: float
    """With every mask counted, whatever the presence."""
    things_gated_miou: float
    """With those empty whose phrase is not found."""
    stuff_precision: float
    stuff_miou: float
    stuff_gated_miou: float
    things_found: float
    stuff_found: float
    absent_rejected: float
    mask_threshold: float
    presence_threshold: float
    cost: float
    """Of a case, in UNet passes of one row."""


def tally(
    ways: Mapping[str, Way],
    miniature: Miniature,
    cases: Iterable[Case],
    *,
    are_painted: bool = False,
) -> dict[str, Tally]:
    """What every way says of every case, as it is or painted anew by the miniature."""
    tallies = {name: Tally() for name in ways}
    for number, case in enumerate(cases):
        sight = Sight(miniature, case, number, is_painted=are_painted)
        for name, way in ways.items():
            _judge(way(sight), sight, tallies[name])
    return tallies


def choose(given: Tally) -> Chosen:
    """The mask threshold of the best mean IoU on things, and the lowest presence that rejects.

    >>> choose(Tally([], [0.1, 0.2, 0.3, 0.4, 0.5])).presence > 0.4
    True
    """
    ious = np.array([each.ious for each in given.of("thing")])
    best = int(ious.mean(axis=0).argmax()) if len(ious) else THRESHOLDS.index(0.5)
    floor = np.float64(np.quantile(given.absent, REJECTED, method="higher"))
    return Chosen(THRESHOLDS[best], float(np.nextafter(floor, np.inf)))


def figures(given: Tally, chosen: Chosen, cost: float) -> Figures:
    """What a way reaches with thresholds that it brings along."""
    values = {
        f"{name}_{figure}": _mean(each)
        for kind, name in NAMES.items()
        for figure, each in measures(given.of(kind), chosen).items()
    }
    return Figures(
        **values,
        absent_rejected=_mean([score < chosen.presence for score in given.absent]),
        mask_threshold=chosen.mask,
        presence_threshold=chosen.presence,
        cost=cost,
    )


def measures(verdicts: Sequence[Verdict], chosen: Chosen) -> dict[str, list[float]]:
    """Of each verdict, by the figure whose mean it counts in: all in [0, 1]."""
    at = THRESHOLDS.index(chosen.mask)
    found = [float(each.presence >= chosen.presence) for each in verdicts]
    ious = [each.ious[at] for each in verdicts]
    return {
        "precision": [each.precision for each in verdicts],
        "miou": ious,
        "gated_miou": [iou * is_found for iou, is_found in zip(ious, found, strict=True)],
        "found": found,
    }


@torch.inference_mode()
def cost_of(way: Way, miniature: Miniature, case: Case, *, is_painted: bool = False) -> float:
    """CPU seconds of a way on a case, over those of a UNet pass of one row.

    What it takes to encode the case, or to paint it anew, is left out.
    """
    sight = Sight(miniature, case, is_painted=is_painted)
    context, timestep = miniature.encode_text([""]), torch.tensor([400.0])
    ratios = []
    for _ in range(_PAIRS):
        one_pass = _seconds(lambda: miniature.unet(sight.latents, timestep, context))
        fresh = sight.afresh()
        ratios.append(_seconds(lambda fresh=fresh: way(fresh)) / one_pass)  # type: ignore[misc]
    return statistics.median(ratios)


def table(measured: Mapping[str, Figures]) -> str:
    """The figures as Markdown, a line for each way."""
    lines = []
    for name, each in measured.items():
        shown = [
            each.things_precision,
            each.things_miou,
            each.things_gated_miou,
            each.stuff_precision,
            each.stuff_miou,
            each.stuff_gated_miou,
            each.things_found,
            each.absent_rejected,
            each.mask_threshold,
        ]
        lines.append([name, *map(short, shown), f"{each.cost:.1f}"])
    return markdown(_HEADINGS, lines)


def shares(answer: Answer, size: tuple[int, int]) -> Tensor:
    """What an answer's threshold cuts, ``(P, H, W)`` in [0, 1]: its maps at the picture's size."""
    maps = enlarged(answer.maps.float(), size)
    if answer.is_probability:
        return maps.clamp(0, 1)
    lowest, highest = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - lowest) / (highest - lowest).clamp_min(1e-12)


def precision_and_ious(
    share: NDArray[np.float32], truth: NDArray[np.bool_]
) -> tuple[float, tuple[float, ...]]:
    """How well shares ``(H, W)`` in [0, 1] rank the pixels of a truth, and IoUs by threshold.

    >>> precision_and_ious(np.float32([[0.9, 0.1]]), np.array([[True, False]]))[0]
    1.0
    """
    levels = (share * (_LEVELS - 1)).round().astype(np.int64)
    taken = np.bincount(levels.ravel(), minlength=_LEVELS)[::-1].cumsum()  # the highest first
    right = np.bincount(levels[truth], minlength=_LEVELS)[::-1].cumsum()
    above = [_LEVELS - 2 - int(threshold * (_LEVELS - 1)) for threshold in THRESHOLDS]
    ious = right[above] / np.maximum(taken[above] + right[-1] - right[above], 1)
    return average_precision(taken, right), tuple(ious.tolist())


def _judge(answer: Answer, sight: Sight, into: Tally) -> None:
    case = sight.case
    share = shares(answer, case.scene.labels.shape).numpy()
    presence = answer.presence.tolist()
    for index, phrase in enumerate(case.phrases):
        if phrase.is_absent:
            into.absent.append(presence[index])
            continue
        truth = case.mask(phrase)
        small_or_not: Kind = "small thing" if is_small(truth) else "thing"
        kind = "stuff" if case.is_stuff(phrase) else small_or_not
        precision, ious = precision_and_ious(share[index], truth)
        into.verdicts.append(Verdict(kind, presence[index], precision, ious, sight.number))


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
