"""What positions see in each other: scores that walk along it fill things and end at their edges.

Self-attention is a random walk, whose steps lead from a position to those that are like it. S^n C
is what Dataset Diffusion does (arXiv 2309.14303), `refine` what iSeg does (arXiv 2409.03209).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .grids import grid_of, on_grid, pooled

MOST_LINKS = 2**26
"""Of a matrix, which takes 256 MiB then; SDXL at 1024 pixels has a fourth."""

ROWS_AT_ONCE = 512
"""Of a matrix of links: 512 of 4,096 positions and 10 heads take 80 MiB on the way."""


class Link(NamedTuple):
    """Self-attention of a block: what each position asks of the others, and what it answers."""

    queries: Tensor
    """``(heads, N, d)``."""
    keys: Tensor
    """``(heads, N, d)``."""


class Linked(NamedTuple):
    """How much each position sees of the others."""

    grid: tuple[int, int]
    """(rows, columns) of the positions."""
    seen: tuple[int, int]
    """(rows, columns) of what they see: the same, or coarser."""
    matrix: Tensor
    """``(positions, seen)``; its rows sum to 1."""

    def walk(self, scores: Tensor, steps: int) -> Tensor:
        """Scores ``(P, rows, columns)`` after some steps along the links: ``S^steps C``."""
        for _ in range(steps):
            scores = on_grid(pooled(scores, self.seen) @ self.matrix.T, self.grid)
        return scores


class Links(Mapping[int, Link]):
    """The links of a picture by block; their matrix is made once, however many phrases walk."""

    def __init__(self, by_block: Mapping[int, Link]) -> None:
        """Keep the links of several blocks of one size."""
        self._by_block = dict(by_block)
        self._linked: dict[tuple[int, int], Linked] = {}

    def on(self, size: tuple[int, int]) -> Linked:
        """`link_matrix` of them all, with at most `MOST_LINKS`.

        In pictures with more, positions see neighbours as one, four by four, until links are few
        enough: so time and memory stay within bounds, and masks as fine as they are.

        Args:
            size: (h, w) of the latents, as the pass saw them.

        Raises:
            InputError: The links are of other latents.
        """
        if size not in self._linked:
            grid = grid_of(next(iter(self.values())).queries.shape[1], size)
            seen = grid
            while math.prod(grid) * math.prod(seen) > MOST_LINKS and seen != (1, 1):
                seen = -(-seen[0] // 2), -(-seen[1] // 2)
            merged = [Link(link.queries, _merged(link.keys, grid, seen)) for link in self.values()]
            self._linked[size] = Linked(grid, seen, link_matrix(merged))
        return self._linked[size]

    def __getitem__(self, block: int) -> Link:
        return self._by_block[block]

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_block)

    def __len__(self) -> int:
        return len(self._by_block)


def _merged(tokens: Tensor, grid: tuple[int, int], coarser: tuple[int, int]) -> Tensor:
    """``(heads, N, d)`` on a grid as means on a coarser one, or as they are on the same."""
    if grid == coarser:
        return tokens
    heads, _, width = tokens.shape
    maps = tokens.transpose(1, 2).reshape(heads * width, *grid)
    return pooled(maps, coarser).reshape(heads, width, -1).transpose(1, 2)


def link_matrix(links: Iterable[Link]) -> Tensor:
    """The mean self-attention of several blocks of one size; its rows sum to 1.

    Args:
        links: Queries and keys by block; there may be fewer keys than queries.

    Returns:
        ``(queries, keys)``.
    """
    several = list(links)
    positions, seen = several[0].queries.shape[1], several[0].keys.shape[1]
    total = several[0].queries.new_zeros(positions, seen)
    for queries, keys in several:
        scale = queries.shape[-1] ** -0.5
        for start in range(0, positions, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            shares = (queries[:, rows] @ keys.transpose(1, 2) * scale).softmax(dim=-1)
            total[rows] += shares.mean(dim=0)
    total /= len(several)
    return total


def refine(
    scores: Tensor, matrix: Tensor, *, iterations: int = 8, sharpening: float = 0.015
) -> Tensor:
    """Scores ``(P, N)`` after many steps along the strong links alone; rows from 0, of sum 1.

    A step against the slope of the links' entropy takes most from the weakest: what is far below
    the strongest link to the same position becomes 0.

    Args:
        scores: Of the phrases.
        matrix: ``(N, N)``; its links become ``max(0, x + sharpening * log10(2.718 x))`` with x the
            share of a link in the strongest of its column, and then its rows sum to 1 again.
        iterations: Steps.
        sharpening: How much is cut; at 0.015 what is below 2 % of the strongest.
    """
    share = matrix / matrix.amax(dim=0, keepdim=True)
    reduced = (share + sharpening * torch.log10(2.718 * share.clamp_min(1e-12))).clamp_min(0)
    reduced = reduced / reduced.sum(dim=1, keepdim=True).clamp_min(1e-12)
    for _ in range(iterations):
        scores = scores @ reduced.T
        scores = scores - scores.amin(dim=1, keepdim=True)
        scores = scores / scores.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return scores
