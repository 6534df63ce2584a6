"""Maps that read no phrase at all: what masks of the world are worth that anyone could guess."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 20


def random_maps(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Noise, ``(count, h, w)`` in [0, 1]."""
    return torch.rand((count, *size), generator=generator)


def centre_map(size: tuple[int, int], deviation: float = 0.25) -> Tensor:
    """A hill in the middle, ``(h, w)`` in [0, 1].

    Args:
        size: (h, w).
        deviation: Of the Gaussian, as a share of each side.
    """
    rows, columns = (torch.linspace(-0.5, 0.5, side) / deviation for side in size)
    return torch.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / 2)


def distance_map(latents: Tensor) -> Tensor:
    """How far each position of latents ``(1, C, h, w)`` is from their mean, ``(h, w)``."""
    mean = latents.mean(dim=(2, 3), keepdim=True)
    distance: Tensor = torch.linalg.vector_norm((latents - mean).float(), dim=1)[0]
    return distance


def central_cluster(latents: Tensor, clusters: int) -> Tensor:
    """The cluster of latents that is most at home in the middle, ``(h, w)``, 1 inside.

    It is the one with the highest mean of `centre_map`.

    Args:
        latents: ``(1, C, h, w)``.
        clusters: How many k-means makes, at least 2.
    """
    size = (latents.shape[-2], latents.shape[-1])
    points = latents[0].float().flatten(1).T
    belongs = _k_means(points, clusters)
    hill = centre_map(size).flatten()
    means = torch.stack([hill[belongs == each].mean() for each in range(clusters)])
    return (belongs == means.nan_to_num(0).argmax()).float().reshape(size)


def _k_means(points: Tensor, clusters: int) -> Tensor:
    """The cluster of each of the points ``(N, C)``, which start from the farthest ones."""
    distance = (points - points.mean(dim=0)).norm(dim=1)
    chosen = [int(distance.argmax())]
    nearest = (points - points[chosen[0]]).norm(dim=1)
    while len(chosen) < clusters:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).norm(dim=1))
    centres = points[chosen]
    belongs = torch.cdist(points, centres).argmin(dim=1)
    for _ in range(_ROUNDS):
        for each in range(clusters):
            if bool((belongs == each).any()):
                centres[each] = points[belongs == each].mean(dim=0)
        belongs = torch.cdist(points, centres).argmin(dim=1)
    return belongs
