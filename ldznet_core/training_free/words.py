"""Phrases scored against what each position of a picture asks of the text.

Attention goes to the start token wherever no word fits, so a word's score is counted from there:
its key less the start token's. Of keys only the direction counts, for some words have long ones
whatever the picture shows; and of queries too, so that the score is a cosine, whatever the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import Attention, Words
from .grids import grid_of, on_grid, pooled


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
