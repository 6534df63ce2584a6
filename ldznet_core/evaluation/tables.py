"""Figures as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping


def as_table(first: str, measured: Mapping[str, Mapping[str, float]], digits: int = 2) -> str:
    """A line for each thing that was measured, a column for each figure; NaN is a dash.

    >>> print(as_table("way", {"a": {"mIoU": 0.5}, "b": {"mIoU": float("nan")}}))
    | way | mIoU |
    |---|---|
    | a | 0.50 |
    | b | - |

    Args:
        first: The first column's heading.
        measured: Figures by heading, by name; every name has the same.
        digits: Behind the point.
    """
    headings = [first, *next(iter(measured.values()), {})]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for name, figures in measured.items():
        cells = [name, *(_short(value, digits) for value in figures.values())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
