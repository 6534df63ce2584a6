"""What a way to masks is, and the two that users meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

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
        given = segmenter.segment_features(sight.latents, sight.captured, sight.phrases)
        return _as_given(given)

    return answer


def _as_given(given: Segmentation) -> Answer:
    return Answer(given.probabilities, torch.tensor(given.scores), is_probability=True)
