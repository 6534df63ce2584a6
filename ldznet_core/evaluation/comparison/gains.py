"""How much one way to masks gains over another on the same cases, and what of it is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..tables import markdown, short
from .figures import NAMES, Chosen, Figures, Tally, measures

_RESAMPLINGS = 2000
_SHARE = 0.95
_HEADINGS = (
    "way",
    *("things: AP", "gain", "mIoU", "gain", "gated"),
    *("stuff: AP", "gain"),
    *("things found", "absent rejected", "mask at", "passes"),
)


@dataclass(frozen=True, slots=True)
class Gain:
    """The difference of two means over the same phrases, and how far chance may move it."""

    difference: float
    low: float
    """Between this and `high` lie 95 % of the differences that other draws of scenes give."""
    high: float


@dataclass(frozen=True, slots=True)
class Compared:
    """What a way reaches, and how it stands to another."""

    figures: Figures
    gains: dict[str, Gain | None]


def gains(
    way: Tally, chosen: Chosen, default: Tally, default_chosen: Chosen
) -> dict[str, Gain | None]:
    """What a way gains over another, by the figures' names; None of no phrases.

    The chance in it is that of the scenes; both bring their thresholds along.

    Args:
        way: What it said of some cases.
        chosen: Its thresholds.
        default: What the other said of the same cases.
        default_chosen: The other's thresholds.
    """
    found = {}
    for kind, name in NAMES.items():
        scenes = [each.scene for each in way.of(kind)]
        one, other = measures(way.of(kind), chosen), measures(default.of(kind), default_chosen)
        for figure in one:
            gained = np.subtract(one[figure], other[figure])
            found[f"{name}_{figure}"] = gain(scenes, gained.tolist()) if scenes else None
    return found


def gain(scenes: Sequence[int], differences: Sequence[float]) -> Gain:
    """The mean of differences, with the interval that a bootstrap over their scenes gives.

    The same for the same arguments.

    >>> gain([0, 0, 1], [0.1, 0.1, 0.1])
    Gain(difference=0.1, low=0.1, high=0.1)

    Args:
        scenes: Each difference's scene; what a scene shows is drawn as a whole.
        differences: At least one.
    """
    numbers, places = np.unique(scenes, return_inverse=True)
    sums, counts = np.bincount(places, weights=differences), np.bincount(places)
    drawn = np.random.default_rng(0).integers(len(numbers), size=(_RESAMPLINGS, len(numbers)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - _SHARE) / 2, (1 + _SHARE) / 2])
    mean = sums.sum() / counts.sum()
    return Gain(*(round(float(each), 6) for each in (mean, low, high)))


def table_with_gains(measured: Mapping[str, Compared]) -> str:
    """The figures as Markdown, with gains; bold is one whose interval leaves 0 out.

    The line of the way that others are compared with has dashes.
    """
    lines = []
    for name, each in measured.items():
        reached, gained = each.figures, each.gains
        lines.append(
            [
                name,
                short(reached.things_precision),
                _shown(gained.get("things_precision")),
                short(reached.things_miou),
                _shown(gained.get("things_miou")),
                short(reached.things_gated_miou),
                short(reached.stuff_precision),
                _shown(gained.get("stuff_precision")),
                short(reached.things_found),
                short(reached.absent_rejected),
                short(reached.mask_threshold),
                f"{reached.cost:.1f}",
            ]
        )
    return markdown(_HEADINGS, lines)


def shown_between(value: float, low: float, high: float) -> str:
    """A gain with what it lies between; bold where that leaves 0 out, and rounding does not.

    >>> shown_between(0.0123, 0.01, 0.02), shown_between(0.0004, 0.0003, 0.0005)
    ('**+0.012** (+0.010 to +0.020)', '+0.000 (+0.000 to +0.001)')
    """
    is_sure = (low > 0 or high < 0) and round(value, 3) != 0
    marks = "**" if is_sure else ""
    return f"{marks}{value:+.3f}{marks} ({low:+.3f} to {high:+.3f})"


def _shown(gained: Gain | None) -> str:
    return "-" if gained is None else shown_between(gained.difference, gained.low, gained.high)
