"""Figures as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence


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
    lines = [
        [name, *(short(value, digits) for value in figures.values())]
        for name, figures in measured.items()
    ]
    return markdown([first, *next(iter(measured.values()), {})], lines)


def markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Cells as a table, a line for each.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    shown = [f"| {' | '.join(cells)} |" for cells in (headings, *lines)]
    return "\n".join([shown[0], "|---" * len(headings) + "|", *shown[1:]])


def short(value: float, digits: int = 2) -> str:
    """A figure with so many digits behind its point; NaN is a dash."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
