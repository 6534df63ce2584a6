"""Phrases scored against what each position of a picture asks of the text.

Attention goes to the start token wherever no word fits, so a word's score is counted from there:
its key less the start token's. Of keys only the direction counts, for some words have long ones
whatever the picture shows; and of queries too, so that the score is a cosine, whatever the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..frames import padded_side
from .attention import Attention, Words
from .links import pooled


def score_words(
    attention: Attention,
    size: tuple[int, int],
    blocks: Sequence[int],
    grid: tuple[int, int] | None = None,
) -> Tensor:
    """How well each phrase fits each position, ``(P, rows, columns)``, the mean over blocks.

    Args:
        attention: Of one picture and P phrases.
        size: (h, w) of its latents, as the pass saw them.
        blocks: Whose scores count.
        grid: (rows, columns) of the scores; None is the finest of the blocks.
    """
    maps = []
    for block in blocks:
        words = attention.words[block]
        scores = score_block(words, attention.counts)
        maps.append(on_grid(scores, grid_of(words.queries.shape[1], size)))
    finest = max((each.shape[-2:] for each in maps), key=lambda shape: shape[0] * shape[1])
    rows, columns = grid or (finest[0], finest[1])
    fitting = [on_grid(pooled(each, (rows, columns)), (rows, columns)) for each in maps]
    return torch.stack(fitting).mean(dim=0)


def score_block(words: Words, counts: tuple[int, ...]) -> Tensor:
    """Scores in one block, ``(P, N)`` in [-1, 1], the mean over heads.

    Args:
        words: Queries and keys.
        counts: Tokens of each phrase, which come behind the start token.
    """
    directions = torch.stack(
        [
            keys[:, 1 : 1 + count].mean(dim=1) - keys[:, 0]
            for keys, count in zip(words.keys, counts, strict=True)
        ]
    )  # (P, heads, d)
    queries = F.normalize(words.queries, dim=-1)
    return torch.einsum("hnd,phd->pn", queries, F.normalize(directions, dim=-1)) / len(queries)


def compete(scores: Tensor, sharpness: float = 20.0) -> Tensor:
    """Scores ``(P, h, w)`` less what the other phrases have at each position, softly the best.

    Args:
        scores: Of phrases that exclude each other; of one alone they stay as they are.
        sharpness: How strictly only the best of the others counts.
    """
    if len(scores) == 1:
        return scores
    others = [torch.cat([scores[:index], scores[index + 1 :]]) for index in range(len(scores))]
    best = [torch.logsumexp(each * sharpness, dim=0) / sharpness for each in others]
    return scores - torch.stack(best)


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


def frame_of(positions: int, size: tuple[int, int], multiple: int = 8) -> tuple[int, int]:
    """(h, w) of the latents that a pass saw: padded, as in a probe, or as they are.

    A host's own pass takes them as they are, and rounds up where it halves.

    >>> frame_of(16 * 16, (60, 64)), frame_of(15 * 16, (60, 64))
    ((64, 64), (60, 64))

    Args:
        positions: How many a block has.
        size: (h, w) of the latents.
        multiple: To which a probe pads.
    """
    padded = padded_side(size[0], multiple), padded_side(size[1], multiple)
    return padded if math.prod(_halved(positions, padded)) == positions else size


def step_of(grid: tuple[int, int], frame: tuple[int, int]) -> int:
    """Latents to a position, along each side; the last may look beyond the frame.

    >>> step_of((34, 60), (135, 240))
    4
    """
    step = 1
    while step * grid[0] < frame[0] or step * grid[1] < frame[1]:
        step *= 2
    return step


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
