"""What several heads have in common where they are compared alike: means, and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..tables import markdown, short
from .gains import Compared, shown_between

_GAINED = ("things_precision", "things_miou", "stuff_precision")
_REACHED = ("things_found", "absent_rejected")
_HEADINGS = (
    "way",
    *("things: AP", "gain", "mIoU", "gain"),
    *("stuff: AP", "gain"),
    *("things found", "absent rejected"),
)


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean of a figure over several heads, and the heads between which it lies."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Several:
    """A way as several heads have it; figures by the names that `Figures` has for them."""

    heads: int
    figures: dict[str, Spread]
    gains: dict[str, Spread]
    """Of each head over its own first way; none of that way, nor of what no scene shows."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Several:
        """As it was before `dataclasses.asdict` and JSON."""
        figures, gains = (
            {name: Spread(**each) for name, each in stored[part].items()}
            for part in ("figures", "gains")
        )
        return cls(stored["heads"], figures, gains)


def spreads(heads: Sequence[Mapping[str, Compared]]) -> dict[str, Several]:
    """Every way's figures and gains over all heads; no way where those differ from head to head.

    Args:
        heads: What each reaches, by way; at least one.
    """
    first, *others = heads
    if any(list(each) != list(first) for each in others):
        return {}
    return {way: _over([head[way] for head in heads]) for way in first}


def table_of_spreads(measured: Mapping[str, Several]) -> str:
    """A line for each way: means, with the lowest and the highest in brackets.

    Bold is a gain that has the same sign with every head.
    """
    lines = []
    for way, each in measured.items():
        both = ((_shown(each.figures[name]), _shown_gain(each.gains.get(name))) for name in _GAINED)
        rest = (_shown(each.figures[name]) for name in _REACHED)
        lines.append([way, *chain(*both), *rest])
    return markdown(_HEADINGS, lines)


def _over(heads: Sequence[Compared]) -> Several:
    gained = {name: [each.gains.get(name) for each in heads] for name in _GAINED}
    return Several(
        len(heads),
        {
            name: _spread([getattr(each.figures, name) for each in heads])
            for name in (*_GAINED, *_REACHED)
        },
        {
            name: _spread([each.difference for each in gains if each])
            for name, gains in gained.items()
            if all(gains)
        },
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(round(statistics.fmean(values), 6), min(values), max(values))


def _shown(reached: Spread) -> str:
    low, high = (short(each) for each in (reached.low, reached.high))
    return f"{short(reached.mean)} ({low} to {high})"


def _shown_gain(gained: Spread | None) -> str:
    return "-" if gained is None else shown_between(gained.mean, gained.low, gained.high)
