"""The ways to masks that are compared: parts of the masks without a head, controls, and heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ...segmenter import Segmenter
from ...training_free import LAYERS, Attention, Layers
from ...training_free.grids import enlarged, grid_of, on_grid
from ...training_free.links import refine
from ...training_free.noise import clipped
from ...training_free.words import compete, score_words
from ..comparison.sight import Sight
from ..comparison.ways import Answer, Way, by_capture, by_segmenter
from .controls import central_cluster, centre_map, distance_map, random_maps

NOISE_TIMESTEP = 500.0
"""Where noise differences are taken: half the noise, as in DiffEdit."""

_NOISES = 10
_LEVELS = {
    "16x16": (1, 2, 14, 15, 16),
    "8x8": (3, 4, 11, 12, 13),
    "4x4": (5, 6, 8, 9, 10),
}
_LAYERS = replace(LAYERS["miniature"], presence_words=())
"""The default's mask alone, whose own highest score is its presence."""

_NO_CHOICE = 0.0  # the presence of controls, which cannot tell what is there


def ways_to_compare(
    default: Segmenter, heads: Mapping[str, Segmenter], *, are_painted: bool = False
) -> dict[str, Way]:
    """Everything that is measured, by its name.

    Args:
        default: The miniature without a trained head.
        heads: The miniature with trained heads, by name.
        are_painted: Whether scenes are painted anew, so that something is captured on the way.
    """
    shown = {"**training-free**": default}
    shown |= {f"trained head `{name}`": each for name, each in heads.items()}
    heard = {
        f"{name}, captured while sampling": by_capture(each)
        for name, each in shown.items()
        if are_painted and each.head.config.reads != "nothing"
    }
    return {
        "**training-free**, the default": by_segmenter(default),
        **_words_alone(),
        **_words_and_links(),
        **_timesteps(),
        **_noise_differences(),
        **_controls(),
        **{f"trained head `{name}`": by_segmenter(each) for name, each in heads.items()},
        **heard,
    }


def _words_alone() -> dict[str, Way]:
    layers = replace(_LAYERS, links=())
    by_level = {
        f"words at {level}": _by_words(replace(layers, words=blocks))
        for level, blocks in _LEVELS.items()
    }
    return {
        "words": _by_words(layers),
        "words by plain dot product": _by_plain_products(layers),
        **by_level,
        "words, phrases competing": _by_words(layers, competing=True),
    }


def _words_and_links() -> dict[str, Way]:
    layers, presence = _LAYERS, LAYERS["miniature"].presence_words
    by_presence = _by_words(replace(layers, words=presence), steps=1)
    return {
        "words + walk, 1 step": _by_words(layers, steps=1),
        f"words of blocks {_listed(presence)} + walk, 1 step": by_presence,
        "words + walk, 2 steps": _by_words(layers, steps=2),
        "words + walk, 4 steps": _by_words(layers, steps=4),
        "words + refinement (iSeg)": _by_refinement(layers),
        "words + walk, phrases competing": _by_words(layers, steps=1, competing=True),
    }


def _timesteps() -> dict[str, Way]:
    def at(*timesteps: float) -> Way:
        several = [_by_words(replace(_LAYERS, timestep=t), steps=1) for t in timesteps]

        def answer(sight: Sight) -> Answer:
            return _plain(torch.stack([way(sight).maps for way in several]).mean(dim=0))

        return answer

    return {
        "words + walk at t = 300": at(300.0),
        "words + walk at t = 400": at(400.0),
        "words + walk at t = 300, 400, 500": at(300.0, 400.0, 500.0),
    }


def _noise_differences() -> dict[str, Way]:
    return {
        "noise difference, 1 noise": _by_noise(1),
        f"noise difference, {_NOISES} noises": _by_noise(_NOISES),
        "words + walk x noise difference, 1 noise": _by_words_and_noise(1),
        f"words + walk x noise difference, {_NOISES} noises": _by_words_and_noise(_NOISES),
    }


def _controls() -> dict[str, Way]:
    def same(make: Callable[[Sight], Tensor]) -> Way:
        def answer(sight: Sight) -> Answer:
            maps = make(sight).expand(len(sight.phrases), -1, -1)
            presence = torch.full((len(maps),), _NO_CHOICE)
            return Answer(maps, presence, is_probability=bool(maps.amin() == maps.amax()))

        return answer

    def by_clusters(clusters: int) -> Way:
        return same(lambda sight: central_cluster(sight.latents, clusters))

    def by_chance(sight: Sight) -> Answer:
        generator = torch.Generator().manual_seed(sight.number)
        return _plain(random_maps(len(sight.phrases), sight.size, generator))

    return {
        "control: random": by_chance,
        "control: everything": same(lambda sight: torch.ones(sight.size)),
        "control: the middle": same(lambda sight: centre_map(sight.size)),
        "control: latents far from their mean": same(lambda sight: distance_map(sight.latents)),
        **{f"control: z-clusters, k = {count}": by_clusters(count) for count in (2, 3, 4)},
    }


def _by_words(layers: Layers, *, steps: int = 0, competing: bool = False) -> Way:
    def answer(sight: Sight) -> Answer:
        attention = sight.attention(layers)
        if steps:
            scores = _along_links(attention, sight.size, layers, steps)
        else:
            scores = score_words(attention, sight.size, layers.words)
        return _plain(compete(scores) if competing else scores)

    return answer


def _by_plain_products(layers: Layers) -> Way:
    """Without what `score_words` does beside: the mean over tokens of query times key."""

    def answer(sight: Sight) -> Answer:
        attention = sight.attention(layers)
        maps = []
        for words in attention.words.values():
            tokens = [
                keys[:, 1 : 1 + count].mean(dim=1)
                for keys, count in zip(words.keys, attention.counts, strict=True)
            ]
            scale = words.queries.shape[-1] ** -0.5
            scores = torch.einsum("hnd,phd->pn", words.queries, torch.stack(tokens)) * scale
            grid = grid_of(words.queries.shape[1], sight.size)
            maps.append(enlarged(on_grid(scores / len(words.queries), grid), sight.size))
        return _plain(torch.stack(maps).mean(dim=0))

    return answer


def _by_refinement(layers: Layers) -> Way:
    """The presence is that of the words, for refined maps keep no scale."""

    def answer(sight: Sight) -> Answer:
        attention = sight.attention(layers)
        linked = attention.links.on(sight.size)
        scores = score_words(attention, sight.size, layers.words, linked.grid)
        refined = on_grid(refine(scores.flatten(1), linked.matrix), linked.grid)
        return Answer(refined, scores.amax(dim=(1, 2)))

    return answer


def _by_noise(noises: int) -> Way:
    def answer(sight: Sight) -> Answer:
        return _plain(_mean_difference(sight, noises))

    return answer


def _by_words_and_noise(noises: int) -> Way:
    """The default's scores as shares, of which a noise difference takes at most half."""
    by_words = _by_words(_LAYERS, steps=1)

    def answer(sight: Sight) -> Answer:
        scores = by_words(sight)
        lowest = scores.maps.amin(dim=(1, 2), keepdim=True)
        share = (scores.maps - lowest) / (scores.presence[:, None, None] - lowest).clamp_min(1e-6)
        prior = clipped(_mean_difference(sight, noises))
        return Answer(enlarged(share, sight.size) * (1 + prior) / 2, scores.presence)

    return answer


def _mean_difference(sight: Sight, noises: int) -> Tensor:
    maps = [sight.noise_difference(seed, NOISE_TIMESTEP) for seed in range(noises)]
    return torch.stack(maps).mean(dim=0)


def _along_links(attention: Attention, size: tuple[int, int], layers: Layers, steps: int) -> Tensor:
    linked = attention.links.on(size)
    return linked.walk(score_words(attention, size, layers.words, linked.grid), steps)


def _listed(blocks: tuple[int, ...]) -> str:
    return ", ".join(map(str, blocks))


def _plain(maps: Tensor) -> Answer:
    """Maps whose highest value tells whether the thing is there."""
    return Answer(maps, maps.amax(dim=(1, 2)))
