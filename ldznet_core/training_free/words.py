"""Phrases scored against what each position of a picture asks of the text.

Attention goes to the start token wherever no word fits, so a word's score is counted from there:
its key less the start token's. Of keys only the direction counts, for some words have long ones
whatever the picture shows; and of queries too, so that the score is a cosine, whatever the model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .attention import Attention, Words


def score_words(attention: Attention, size: tuple[int, int]) -> Tensor:
    """How well each phrase fits each position, ``(P, h, w)`` in [-1, 1], the mean over blocks.

    Args:
        attention: Of one picture and P phrases.
        size: (h, w) of its latents, padded to the UNet's multiple; the scores have the finest grid
            of the blocks.
    """
    maps = [
        on_grid(score_block(words, attention.counts), grid_of(words.queries.shape[1], size))
        for words in attention.words.values()
    ]
    finest = max((each.shape[-2:] for each in maps), key=lambda grid: grid[0] * grid[1])
    return torch.stack([enlarged(each, (finest[0], finest[1])) for each in maps]).mean(dim=0)


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

    Args:
        positions: How many there are.
        size: (h, w) of the latents.

    Raises:
        InputError: No halving of these latents has as many.
    """
    rows, columns = size
    while rows * columns > positions and rows * columns > 1:
        rows, columns = -(-rows // 2), -(-columns // 2)
    if rows * columns != positions:
        raise InputError(
            f"expected attention over latents of {size[0]}x{size[1]}, halved some times, got "
            f"{positions} positions: give the latents on which it was captured"
        )
    return rows, columns


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """``(P, h, w)`` at another size, bicubic."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[:, None], size, mode="bicubic", align_corners=False)[:, 0]
