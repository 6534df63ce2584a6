"""What a probe of layers found, in words: tables, the best blocks, and the paper's beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..tables import markdown
from .probe import Cell
from .readers import ALL_BLOCKS, Source

Measure: TypeAlias = Literal["precision", "miou"]

TITLES: dict[Measure, str] = {
    "precision": "Foreground AP",
    "miou": "mIoU of objects",
}

_BEST = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table: its name, and a value for each timestep."""

    name: str
    values: tuple[float, ...]
    block: int | None = None


def timesteps_of(cells: Sequence[Cell]) -> list[int]:
    """The timesteps that were probed, in order."""
    return sorted({cell.timestep for cell in cells if cell.timestep is not None})


def block_lines(cells: Sequence[Cell], measure: Measure) -> list[Line]:
    """The UNet's blocks in the order of a pass."""
    lines = []
    for block in ALL_BLOCKS:
        own = _of(cells, "unet", block)
        shape = f"{own[0].side}x{own[0].side}, {own[0].channels} ch"
        lines.append(Line(f"{block} ({shape})", _values(own, measure), block))
    return lines


def control_lines(cells: Sequence[Cell], measure: Measure) -> list[Line]:
    """What the blocks are to be compared with; of the untrained UNet its best block each time."""
    untrained = [_values(_of(cells, "untrained", block), measure) for block in ALL_BLOCKS]
    columns = len(timesteps_of(cells))
    (encoder,) = _values(_of(cells, "encoder"), measure)
    return [
        Line("untrained UNet, best block", tuple(map(max, zip(*untrained, strict=True)))),
        Line("noisy latents", _values(_of(cells, "latents"), measure)),
        Line("VAE encoder, no noise", (encoder,) * columns),
        *(
            Line(f"truth on {each.side}x{each.side}", (getattr(each, measure),) * columns)
            for each in _of(cells, "truth")
        ),
    ]


def best_cells(
    cells: Sequence[Cell], measure: Measure, timesteps: Sequence[int] | None = None
) -> list[Cell]:
    """The five best blocks, each at its best timestep, from the best on.

    Args:
        cells: Of a probe.
        measure: What is compared.
        timesteps: Those that count; None means all.
    """
    best = []
    for block in ALL_BLOCKS:
        counted = [
            cell
            for cell in _of(cells, "unet", block)
            if timesteps is None or cell.timestep in timesteps
        ]
        best.append(max(counted, key=lambda cell: getattr(cell, measure)))
    return sorted(best, key=lambda cell: -float(getattr(cell, measure)))[:_BEST]


def table(cells: Sequence[Cell], measure: Measure) -> str:
    """Blocks by timesteps as Markdown, the five best blocks bold at their best timestep."""
    timesteps = timesteps_of(cells)
    bold = {(cell.block, cell.timestep) for cell in best_cells(cells, measure)}
    lines = []
    for line in (*block_lines(cells, measure), *control_lines(cells, measure)):
        shown = [
            f"**{value:.3f}**" if (line.block, timestep) in bold else f"{value:.3f}"
            for timestep, value in zip(timesteps, line.values, strict=True)
        ]
        lines.append([line.name, *shown])
    return markdown(["block, t =", *map(str, timesteps)], lines)


def _of(cells: Sequence[Cell], source: Source, block: int | None = None) -> list[Cell]:
    """The cells of a source, and of a block of it, in the order of their timesteps."""
    own = [cell for cell in cells if (cell.source, cell.block) == (source, block)]
    return sorted(own, key=lambda cell: cell.timestep or 0)


def _values(cells: Sequence[Cell], measure: Measure) -> tuple[float, ...]:
    return tuple(float(getattr(cell, measure)) for cell in cells)
