"""What a way to masks is, the two that users meet, and a choice among many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ...errors import InputError
from ...segmentation import Segmentation
from ...segmenter import Segmenter
from .sight import Sight


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a way says of a picture."""

    maps: Tensor
    """``(P, h, w)`` on any grid, higher inside."""
    presence: Tensor
    """``(P,)``, higher for what is there."""
    is_probability: bool = False
    """Whether a threshold cuts the maps as they are; else as shares of their own range."""


Way: TypeAlias = Callable[[Sight], Answer]


def by_segmenter(segmenter: Segmenter) -> Way:
    """A head as users meet it."""

    def answer(sight: Sight) -> Answer:
        return _as_given(segmenter.segment_latents(sight.latents, sight.phrases))

    return answer


def by_capture(segmenter: Segmenter) -> Way:
    """A head as users meet it who listen to the sampler; only of scenes that are painted anew."""

    def answer(sight: Sight) -> Answer:
        captured = segmenter.aim.nearest(sight.steps)
        return _as_given(segmenter.segment_features(sight.latents, captured, sight.phrases))

    return answer


def ways_named(ways: Mapping[str, Way], words: Sequence[str]) -> dict[str, Way]:
    """The first way, which the others are held against, and those named by any of some words.

    Args:
        ways: All of them, by name.
        words: Parts of names; none for all ways.

    Raises:
        InputError: Words that are in no name.
    """
    for each in words:
        if not any(each in name for name in ways):
            names = ", ".join(f'"{name}"' for name in ways)
            raise InputError(f'expected a part of a way\'s name, got "{each}": choose of {names}')
    first = next(iter(ways))
    return {
        name: way
        for name, way in ways.items()
        if name == first or not words or any(each in name for each in words)
    }


def _as_given(given: Segmentation) -> Answer:
    return Answer(given.probabilities, torch.tensor(given.scores), is_probability=True)
