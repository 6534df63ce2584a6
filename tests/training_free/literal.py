"""The same formulas written out: loops over layers, heads, rows and positions, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ldznet_core.training_free import Attention, Layers
from ldznet_core.training_free.attention import Words
from ldznet_core.training_free.links import Link


def assert_near(given: Tensor, written_out: Tensor) -> None:
    """To 1e-4; float32 is in fact within 1e-6, and within 1e-5 where it is stretched to logits."""
    torch.testing.assert_close(given.double(), written_out.double(), atol=1e-4, rtol=0)


def cosine(one: Tensor, other: Tensor) -> float:
    one, other = one.double(), other.double()
    dot = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
    lengths = math.sqrt(float((one * one).sum())) * math.sqrt(float((other * other).sum()))
    return dot / lengths


def block_scores(words: Words, counts: Sequence[int]) -> Tensor:
    """Per phrase and position the mean over heads of cos(query, mean word key - start key)."""
    heads, positions, _ = words.queries.shape
    scores = torch.zeros(len(counts), positions, dtype=torch.float64)
    for phrase, count in enumerate(counts):
        for head in range(heads):
            keys = words.keys[phrase, head].double()
            mean = sum(keys[token] for token in range(1, 1 + count)) / count
            direction = torch.as_tensor(mean) - keys[0]
            for position in range(positions):
                fit = cosine(words.queries[head, position], direction)
                scores[phrase, position] += fit / heads
    return scores


def attention_matrix(link: Link) -> Tensor:
    """The mean over heads of softmax(q k / sqrt(d)), one row after the other."""
    heads, positions, depth = link.queries.shape
    matrix = torch.zeros(positions, link.keys.shape[1], dtype=torch.float64)
    for head in range(heads):
        queries, keys = link.queries[head].double(), link.keys[head].double()
        for row in range(positions):
            products = [float(queries[row] @ key) / math.sqrt(depth) for key in keys]
            most = max(products)
            powers = [math.exp(product - most) for product in products]
            total = sum(powers)
            matrix[row] += torch.tensor(powers, dtype=torch.float64) / total / heads
    return matrix


def mean_matrix(links: Sequence[Link]) -> Tensor:
    return torch.stack([attention_matrix(link) for link in links]).sum(dim=0) / len(links)


def merged(tokens: Tensor, fine: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Each position of a coarser grid has the mean of those of the fine one that it covers."""
    step = 1
    while step * grid[0] < fine[0] or step * grid[1] < fine[1]:
        step *= 2
    maps = tokens.double().reshape(len(tokens), *fine, -1)
    means = [
        maps[:, step * row : step * (row + 1), step * column : step * (column + 1)].mean(dim=(1, 2))
        for row in range(grid[0])
        for column in range(grid[1])
    ]
    return torch.stack(means, dim=1)


def walked(scores: Tensor, matrix: Tensor, steps: int) -> Tensor:
    """Each position takes what it sees in the others, weighted by how much it sees of them."""
    scores = scores.double()
    for _ in range(steps):
        after = torch.zeros_like(scores)
        for phrase in range(len(scores)):
            for to in range(len(matrix)):
                after[phrase, to] = sum(
                    float(matrix[to, source]) * float(scores[phrase, source])
                    for source in range(len(matrix))
                )
        scores = after
    return scores


def refined(scores: Tensor, matrix: Tensor, iterations: int, sharpening: float) -> Tensor:
    """The rule of iSeg, number by number."""
    positions = len(matrix)
    most = [
        max(float(matrix[row, column]) for row in range(positions)) for column in range(positions)
    ]
    links = torch.zeros(positions, positions, dtype=torch.float64)
    for row in range(positions):
        for column in range(positions):
            share = float(matrix[row, column]) / most[column]
            if share > 0:
                links[row, column] = max(0.0, share + sharpening * math.log10(2.718 * share))
        total = float(links[row].sum())
        links[row] = links[row] / total if total else links[row]
    scores = scores.double()
    for _ in range(iterations):
        scores = walked(scores, links, 1)
        for phrase in range(len(scores)):
            scores[phrase] = scores[phrase] - min(scores[phrase].tolist())
            scores[phrase] = scores[phrase] / sum(scores[phrase].tolist())
    return scores


def competing(scores: Tensor, sharpness: float) -> Tensor:
    after = scores.double().clone()
    phrases, rows, columns = scores.shape
    for phrase in range(phrases if phrases > 1 else 0):
        for row in range(rows):
            for column in range(columns):
                others = [float(scores[o, row, column]) for o in range(phrases) if o != phrase]
                best = math.log(sum(math.exp(sharpness * other) for other in others)) / sharpness
                after[phrase, row, column] -= best
    return after


def bicubic(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """``(h, w)`` at another size: Keys' kernel with a = -0.75, pixels' corners in common."""
    for axis, length in enumerate(size):
        picture = torch.movedim(_bicubic_rows(torch.movedim(picture, axis, 0), length), 0, axis)
    return picture


def averaged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """``(h, w)`` halved some times, rounded up: each cell the mean of those that there are."""
    height, width = picture.shape
    halved = 2 ** round(math.log2(max(height / size[0], width / size[1])))
    cells = torch.zeros(size, dtype=torch.float64)
    for row in range(size[0]):
        for column in range(size[1]):
            rows, columns = (slice(halved * at, halved * (at + 1)) for at in (row, column))
            cells[row, column] = picture[rows, columns].double().mean()
    return cells


def walked_words(
    attention: Attention, blocks: Sequence[int], padded: tuple[int, int], steps: int
) -> Tensor:
    """Scores ``(P, rows, columns)`` on the links' grid, half as fine as the padded latents."""
    grid = (padded[0] // 2, padded[1] // 2)
    total = torch.zeros(len(attention.counts), grid[0] * grid[1], dtype=torch.float64)
    for block in blocks:
        words = attention.words[block]
        halved = round(math.sqrt(padded[0] * padded[1] / words.queries.shape[1]))
        own = (padded[0] // halved, padded[1] // halved)
        for phrase, scores in enumerate(block_scores(words, attention.counts)):
            fit = averaged if own[0] > grid[0] else bicubic
            total[phrase] += fit(scores.reshape(own), grid).flatten()
    matrix = mean_matrix(list(attention.links.values()))
    return walked(total / len(blocks), matrix, steps).reshape(-1, *grid)


def logits(
    attention: Attention,
    layers: Layers,
    padded: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """The whole path ``(P, 8h, 8w)``.

    Args:
        attention: Of a picture and its phrases.
        layers: Of its family.
        padded: (h, w) of the padded latents.
        size: (h, w) of the latents.
    """
    others = layers.presence_words or layers.words
    scores = walked_words(attention, layers.words, padded, layers.walk)
    answers = []
    for each, telling in zip(
        scores, walked_words(attention, others, padded, layers.walk), strict=True
    ):
        picture = bicubic(each, (8 * padded[0], 8 * padded[1]))
        picture = picture[: 8 * size[0], : 8 * size[1]]
        lowest, highest = float(picture.min()), float(picture.max())
        share = (picture - lowest) / (highest - lowest)
        against_edge = torch.exp(-12 * (share - layers.edge).double())
        seen = [
            float(telling[row, column])
            for row in range(telling.shape[0])
            for column in range(telling.shape[1])
            if 2 * row < size[0] and 2 * column < size[1]
        ]
        above = max(seen) - sum(seen) / len(seen) / 2
        against_presence = math.exp(-20 * (above - layers.presence))
        answers.append(-torch.log(against_edge + against_presence))
    return torch.stack(answers)


def _bicubic_rows(rows: Tensor, length: int) -> Tensor:
    rows = rows.double()
    last = len(rows) - 1
    new = torch.zeros(length, *rows.shape[1:], dtype=torch.float64)
    for index in range(length):
        center = (index + 0.5) * len(rows) / length - 0.5
        below = math.floor(center)
        for source in range(below - 1, below + 3):
            new[index] += _keys(center - source) * rows[min(max(source, 0), last)]
    return new


def _keys(distance: float, a: float = -0.75) -> float:
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0
