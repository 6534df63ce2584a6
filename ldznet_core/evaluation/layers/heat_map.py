"""Blocks by timesteps as a picture, after the paper's figure 4, with the controls below."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from ...capture import is_in_window
from ...taps import BLOCKS
from .probe import Cell
from .table import (
    TITLES,
    Line,
    Measure,
    best_cells,
    block_lines,
    control_lines,
    timesteps_of,
)

_CELL = (20, 40)  # height, width
_NAMES = 170  # pixels left of the cells
_TOP = 44
_GAP = 16
_SCALE = ((43, 24, 86), (46, 92, 158), (42, 160, 140), (160, 206, 72), (250, 232, 80))
_PAPER = (216, 32, 32)


def draw_heat_map(cells: Sequence[Cell]) -> Image.Image:
    """A panel for each measure, side by side; each has a scale of its own."""
    panels = [_panel(cells, measure) for measure in TITLES]
    height = max(panel.height for panel in panels) + 2 * _GAP
    picture = Image.new("RGB", (sum(panel.width + _GAP for panel in panels), height), "white")
    left = 0
    for panel in panels:
        picture.paste(panel, (left, 0))
        left += panel.width + _GAP
    draw = ImageDraw.Draw(picture)
    draw.text(
        (_GAP, height - 2 * _GAP),
        "black: the five best blocks at their best timesteps; red: the paper's choice, blocks 6-10 "
        "at t = 300-500",
        fill="black",
    )
    return picture


def _panel(cells: Sequence[Cell], measure: Measure) -> Image.Image:
    timesteps = timesteps_of(cells)
    blocks, controls = block_lines(cells, measure), control_lines(cells, measure)
    values = [value for line in (*blocks, *controls) for value in line.values]
    lowest, highest = min(values), max(values)
    height, width = _CELL
    bottom = _TOP + height * (len(blocks) + len(controls)) + 2 * _GAP
    panel = Image.new("RGB", (_NAMES + width * len(timesteps) + _GAP, bottom), "white")
    draw = ImageDraw.Draw(panel)
    draw.text((_GAP, 6), f"{TITLES[measure]}, from {lowest:.2f} to {highest:.2f}", fill="black")
    for column, timestep in enumerate(timesteps):
        draw.text((_NAMES + width * column + 8, _TOP - 15), str(timestep), fill="black")
    draw.text((_GAP, _TOP - 15), "block (grid)          timestep", fill="black")
    for row, line in enumerate(blocks):
        _draw_line(draw, line, _TOP + height * row, (lowest, highest))
    for row, line in enumerate(controls):
        _draw_line(draw, line, _TOP + height * (len(blocks) + row) + _GAP, (lowest, highest))
    inside = [number for number, timestep in enumerate(timesteps) if is_in_window(timestep)]
    if inside:
        _frame(draw, (BLOCKS[0], BLOCKS[-1]), (inside[0], inside[-1]), _PAPER, 3)
    for cell in best_cells(cells, measure):
        assert cell.block is not None, "a UNet's cell has a block"  # noqa: S101 (cannot happen)
        assert cell.timestep is not None, "and a timestep"  # noqa: S101 (cannot happen)
        column = timesteps.index(cell.timestep)
        _frame(draw, (cell.block, cell.block), (column, column), (0, 0, 0), 2)
    return panel


def _draw_line(
    draw: ImageDraw.ImageDraw, line: Line, top: int, limits: tuple[float, float]
) -> None:
    height, width = _CELL
    draw.text((_GAP, top + 4), line.name, fill="black")
    for column, value in enumerate(line.values):
        left = _NAMES + width * column
        share = (value - limits[0]) / max(limits[1] - limits[0], 1e-9)
        draw.rectangle((left, top, left + width - 1, top + height - 1), fill=_colour(share))
        ink = "black" if share > 0.6 else "white"
        draw.text((left + 6, top + 4), f"{value:.3f}", fill=ink)


def _frame(
    draw: ImageDraw.ImageDraw,
    blocks: tuple[int, int],
    columns: tuple[int, int],
    colour: tuple[int, int, int],
    width: int,
) -> None:
    """A frame around these blocks and columns, first and last."""
    left, right = _NAMES + _CELL[1] * columns[0], _NAMES + _CELL[1] * (columns[1] + 1) - 1
    top, bottom = _TOP + _CELL[0] * (blocks[0] - 1), _TOP + _CELL[0] * blocks[1] - 1
    draw.rectangle((left, top, right, bottom), outline=colour, width=width)


def _colour(share: float) -> tuple[int, int, int]:
    """A colour of the scale: 0 is dark, 1 is bright."""
    place = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    first = min(int(place), len(_SCALE) - 2)
    rest = place - first
    red, green, blue = (
        round(one + rest * (other - one))
        for one, other in zip(_SCALE[first], _SCALE[first + 1], strict=True)
    )
    return red, green, blue
