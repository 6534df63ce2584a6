"""Grids of positions: each block of a UNet has the latents halved some times, rounded up."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..frames import padded_side


def on_grid(scores: Tensor, grid: tuple[int, int]) -> Tensor:
    """``(P, N)`` scores as ``(P, rows, columns)``."""
    return scores.reshape(len(scores), *grid)


def grid_of(positions: int, size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of a block with so many positions: the latents halved, rounded up.

    >>> grid_of(15 * 16, (60, 64))
    (15, 16)

    Args:
        positions: How many there are.
        size: (h, w) of the latents.

    Raises:
        InputError: No halving of these latents has as many.
    """
    rows, columns = _halved(positions, size)
    if rows * columns != positions:
        raise InputError(
            f"expected attention over latents of {size[0]}x{size[1]}, halved some times, got "
            f"{positions} positions: give the latents on which it was captured"
        )
    return rows, columns


def frame_of(
    positions: Collection[int], size: tuple[int, int], multiple: int = 8
) -> tuple[int, int]:
    """(h, w) of the latents that a pass saw: padded, as in a probe, or as they are.

    A host's own pass takes them as they are, and rounds up where it halves. On coarse grids both
    may have as many positions, on the finest only where they are the same there.

    >>> frame_of([16 * 16], (60, 64)), frame_of([15 * 16], (60, 64))
    ((64, 64), (60, 64))
    >>> frame_of([14 * 24, 27 * 48], (54, 96)), frame_of([14 * 24, 28 * 48], (54, 96))
    ((54, 96), (56, 96))

    Args:
        positions: How many each block has.
        size: (h, w) of the latents.
        multiple: To which a probe pads.
    """
    padded = padded_side(size[0], multiple), padded_side(size[1], multiple)
    fits = all(math.prod(_halved(each, padded)) == each for each in positions)
    return padded if fits else size


def step_of(coarse: tuple[int, int], fine: tuple[int, int]) -> int:
    """Positions of a fine grid to one of a coarse grid, along each side; the last may look beyond.

    >>> step_of((34, 60), (135, 240))
    4
    """
    step = 1
    while step * coarse[0] < fine[0] or step * coarse[1] < fine[1]:
        step *= 2
    return step


def pooled(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps of one block on the grid of another, ``(P, rows * columns)``.

    Both grids are the latents halved some times, rounded up: where a side is odd, the last position
    of the coarser grid looks beyond the last of the finer one.

    Args:
        maps: ``(P, h, w)``.
        grid: (rows, columns), coarser or finer.
    """
    height, width = maps.shape[-2:]
    rows, columns = grid
    if height < rows or width < columns:
        step = step_of((height, width), grid)
        return enlarged(maps, (step * height, step * width))[:, :rows, :columns].flatten(1)
    step = step_of(grid, (height, width))
    return F.avg_pool2d(maps[:, None], step, ceil_mode=True)[:, 0].flatten(1)


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """``(P, h, w)`` at another size, bicubic."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[:, None], size, mode="bicubic", align_corners=False)[:, 0]


def _halved(positions: int, size: tuple[int, int]) -> tuple[int, int]:
    """A size halved, rounded up, until it has no more than so many positions."""
    rows, columns = size
    while rows * columns > positions and rows * columns > 1:
        rows, columns = -(-rows // 2), -(-columns // 2)
    return rows, columns
