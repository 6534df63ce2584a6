"""A study as a picture: a panel for each split, a line for each design, bars for the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from .cells import CellFigures
from .designs import DESIGNS
from .table import Spread, on_split, over_seeds

_MEASURE = "things_miou"
_SIDE, _LEFT, _RIGHT, _TOP, _BOTTOM = 300, 46, 14, 30, 30
_LEGEND_ROW = 18
_SHIFT = 5  # pixels between designs at one number of scenes, so that bars stay apart
_TICKS = 5
_MARGIN = 0.02  # of the shares, so that no dot lies on the frame
_FINE = 3  # drawn so many times larger, and shrunk to smooth edges
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5aa8", "#c08a1e", "#555555")
_GREY = "#d8d8d8"


def draw_chart(
    done: Sequence[CellFigures], designs: Sequence[str], sizes: Sequence[int]
) -> Image.Image:
    """Things' mIoU over the number of scenes with masks; bars reach from seed to seed.

    Args:
        done: At least one cell, all measured on the same splits.
        designs: The names, in the legend's order.
        sizes: The numbers of scenes, from left to right.
    """
    splits = list(done[0].splits)
    rows = -(-len(splits) // 2)
    width, height = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM
    legend = _LEGEND_ROW * (len(designs) + 1)
    sheet = Image.new("RGB", (2 * width, rows * height + legend), "white")
    limits = _limits(done)
    for place, split in enumerate(splits):
        spreads = {
            name: [over_seeds(done, name, size, on_split(split, _MEASURE)) for size in sizes]
            for name in designs
        }
        panel = _panel(split, spreads, sizes, limits)
        sheet.paste(panel, (place % 2 * width, place // 2 * height))
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(designs):
        y = rows * height + _LEGEND_ROW * row + _LEGEND_ROW // 2
        draw.line((_LEFT, y, _LEFT + 24, y), fill=_COLOURS[row], width=3)
        draw.text((_LEFT + 32, y - 6), DESIGNS[name].title, fill="black")
    return sheet


def _panel(
    split: str,
    spreads: dict[str, list[Spread | None]],
    sizes: Sequence[int],
    limits: tuple[float, float],
) -> Image.Image:
    """One split; the panel's own axes are the numbers of scenes and the shares."""
    panel = Image.new("RGB", (_LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM), "white")
    panel.paste(_plot(list(spreads.values()), limits), (_LEFT, _TOP))
    draw = ImageDraw.Draw(panel)
    draw.rectangle((_LEFT, _TOP, _LEFT + _SIDE, _TOP + _SIDE), outline="black")
    draw.text((_LEFT, 10), f"{split}: things' mIoU over scenes with masks", fill="black")
    for column, size in enumerate(sizes):
        x = _LEFT + _across(column, len(sizes), _SIDE)
        draw.text((x - 14, _TOP + _SIDE + 8), f"{size:,}", fill="black")
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        value = limits[0] + share * (limits[1] - limits[0])
        draw.text((8, _TOP + (1 - share) * _SIDE - 6), f"{value:.2f}", fill="black")
    return panel


def _plot(lines: Sequence[Sequence[Spread | None]], limits: tuple[float, float]) -> Image.Image:
    side = _SIDE * _FINE
    canvas = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(canvas)
    for tick in range(1, _TICKS):
        y = side * tick / _TICKS
        draw.line((0, y, side, y), fill=_GREY, width=_FINE)

    def up(value: float) -> float:
        return side * (1 - (value - limits[0]) / (limits[1] - limits[0]))

    for number, (line, colour) in enumerate(zip(lines, _COLOURS, strict=False)):
        shift = (number - (len(lines) - 1) / 2) * _SHIFT * _FINE
        placed = [
            (_across(column, len(line), side) + shift, spread)
            for column, spread in enumerate(line)
            if spread
        ]
        if len(placed) > 1:
            means = [(x, up(spread.mean)) for x, spread in placed]
            draw.line(means, fill=colour, width=2 * _FINE, joint="curve")
        for x, spread in placed:
            draw.line((x, up(spread.lowest), x, up(spread.highest)), fill=colour, width=_FINE)
            y, dot = up(spread.mean), 3 * _FINE
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=colour)
    return canvas.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _across(column: int, columns: int, side: int) -> float:
    return side * (column + 0.5) / columns


def _limits(done: Sequence[CellFigures]) -> tuple[float, float]:
    """The shares at the bottom and the top, the same in all panels: tenths around all figures."""
    values = [each.things_miou for figures in done for each in figures.splits.values()]
    low, high = min(values) - _MARGIN, max(values) + _MARGIN
    return max(0.0, math.floor(10 * low) / 10), min(1.0, math.ceil(10 * high) / 10)
