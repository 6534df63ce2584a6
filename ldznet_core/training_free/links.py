"""What positions see in each other: scores that walk along it fill things and end at their edges.

Self-attention is a random walk, whose steps lead from a position to those that are like it. S^n C
is what Dataset Diffusion does (arXiv 2309.14303), `refine` what iSeg does (arXiv 2409.03209).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

ROWS_AT_ONCE = 512
"""Of a matrix of links: 512 of 4,096 positions and 10 heads take 80 MiB on the way."""


class Link(NamedTuple):
    """Self-attention of a block: what each position asks of the others, and what it answers."""

    queries: Tensor
    """``(heads, N, d)``."""
    keys: Tensor
    """``(heads, N, d)``."""


class Links(Mapping[int, Link]):
    """The links of a picture by block; their matrix is made once, however many phrases walk."""

    def __init__(self, by_block: Mapping[int, Link]) -> None:
        """Keep the links of several blocks of one size."""
        self._by_block = dict(by_block)

    @cached_property
    def matrix(self) -> Tensor:
        """`link_matrix` of them all, ``(N, N)``."""
        return link_matrix(self.values())

    def __getitem__(self, block: int) -> Link:
        return self._by_block[block]

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_block)

    def __len__(self) -> int:
        return len(self._by_block)


def link_matrix(links: Iterable[Link]) -> Tensor:
    """The mean self-attention of several blocks of one size, ``(N, N)``; its rows sum to 1.

    Args:
        links: Queries and keys by block.
    """
    several = list(links)
    positions = several[0].queries.shape[1]
    total = several[0].queries.new_zeros(positions, positions)
    for queries, keys in several:
        scale = queries.shape[-1] ** -0.5
        for start in range(0, positions, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            shares = (queries[:, rows] @ keys.transpose(1, 2) * scale).softmax(dim=-1)
            total[rows] += shares.mean(dim=0)
    total /= len(several)
    return total


def walk(scores: Tensor, matrix: Tensor, steps: int) -> Tensor:
    """Scores ``(P, N)`` after some steps along the links: ``S^steps C``."""
    for _ in range(steps):
        scores = scores @ matrix.T
    return scores


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
