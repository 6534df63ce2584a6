"""Attention read as logits, by rules instead of weights; to the segmenter a head like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import torch
from torch import Tensor, nn

from ..capture import Features
from ..errors import InputError
from ..frames import STRIDE
from ..head.config import Reads
from ..taps import Taps
from .attention import Attention
from .grids import enlarged, frame_of, step_of
from .layers import Layers, layers_of
from .places import Place, find_places, places_of
from .words import score_words

TRAINING_FREE = "training-free"
"""The name under which it is chosen among the heads."""

_SHARPNESS = 12.0
"""Logits between the lowest and the highest score of a picture."""

_PRESENCE_SHARPNESS = 20.0
"""Logits for each unit of the highest score above or below what counts as there."""

_MEAN_SHARE = 0.5
"""Of a picture's mean score, taken off the highest. Where 80 % of what is absent is rejected, 86 %
of 657 things of `validation` are found without it, 96 % with half of it and 93 % with all; of those
on three tenths of the picture and more 95, 97 and 87 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFreeConfig:
    """What the segmenter asks of any head, answered by a family's layers."""

    family: str
    layers: Layers
    kind: str = field(default=TRAINING_FREE, init=False)
    template: str = "{}"
    mask_threshold: float = 0.5
    presence_threshold: float = 0.5
    in_channels: int = 4
    reads: Reads = field(default="attention", init=False)
    probes_once: bool = field(default=True, init=False)

    @property
    def taps(self) -> tuple[Place, ...]:
        """The places whose features it reads."""
        return tuple(places_of(self.layers))

    @property
    def image_side(self) -> int:
        """Side in pixels of the square pictures that the family was trained on."""
        return self.layers.image_side

    @property
    def timestep(self) -> float:
        """Where on the noise schedule a probe looks, 0 to 999."""
        return self.layers.timestep


@dataclass(frozen=True, slots=True)
class TrainingFree:
    """No head, chosen as one; it becomes one once the family is known."""

    def for_family(self, family: str) -> TrainingFreeHead:
        """The rules of a family.

        Raises:
            UnsupportedModelError: Its attention cannot be read yet.
        """
        return TrainingFreeHead(TrainingFreeConfig(family=family, layers=layers_of(family)))


@dataclass(frozen=True, slots=True)
class TrainingFreeHead:
    """Rules from attention to logits."""

    config: TrainingFreeConfig

    def taps_of(self, unet: nn.Module) -> Taps:
        """Where a UNet's attention is to be captured."""
        return find_places(unet, self.config.layers)

    def __call__(
        self,
        latents: Tensor,
        context: Tensor,
        features: Attention | Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits ``(P, 1, 8h, 8w)``; above 0 the thing is likelier than not.

        A mask ends between the lowest and the highest score of its picture; and no logit is above
        how surely the thing is there at all, which the scores of other blocks tell as they stand.

        Args:
            latents: ``(1, C, h, w)``; only their size counts.
            context: ``(P, T, D)``; unread, for the attention holds its keys.
            features: From `attend`.

        Raises:
            InputError: The features are no attention, or of other latents.
        """
        if not isinstance(features, Attention):
            raise InputError(
                f"expected attention captured for masks without a head, got "
                f"{type(features).__name__}: capture the places of this head, or make a probe"
            )
        height, width = latents.shape[-2:]
        frame = frame_of(features.positions, (height, width))
        scores = self.scores(features, frame, self.config.layers.words)
        rows, columns = scores.shape[-2:]
        step = step_of((rows, columns), frame)
        picture = (STRIDE * step * rows, STRIDE * step * columns)
        maps = enlarged(scores, picture)[:, None]
        inside = self._inside(maps[:, :, : STRIDE * height, : STRIDE * width])
        others = self.config.layers.presence_words
        telling = self.scores(features, frame, others) if others else scores
        step = step_of((telling.shape[-2], telling.shape[-1]), frame)
        seen = telling[:, : ceil(height / step), : ceil(width / step)]  # padding has no say
        is_there = self._is_there(seen)[:, None, None, None]
        return -torch.logaddexp(-inside, -is_there)  # the lower of the two, without a plateau

    def scores(self, attention: Attention, size: tuple[int, int], blocks: Sequence[int]) -> Tensor:
        """How well each phrase fits each position, ``(P, rows, columns)``, after the walk.

        Args:
            attention: Of one picture.
            size: (h, w) of its latents, as the pass saw them.
            blocks: Whose words count.
        """
        links, steps = attention.links, self.config.layers.walk
        if not links or not steps:
            return score_words(attention, size, blocks)
        linked = links.on(size)
        return linked.walk(score_words(attention, size, blocks, linked.grid), steps)

    def _inside(self, scores: Tensor) -> Tensor:
        """Where each thing is, if it is there: scores ``(P, 1, H, W)`` as logits."""
        lowest = scores.amin(dim=(1, 2, 3), keepdim=True)
        highest = scores.amax(dim=(1, 2, 3), keepdim=True)
        share = (scores - lowest) / (highest - lowest).clamp_min(1e-6)
        return _SHARPNESS * (share - self.config.layers.edge)

    def _is_there(self, scores: Tensor) -> Tensor:
        """Whether each thing is there at all: scores ``(P, rows, columns)`` as logits ``(P,)``.

        A word has a level of its own in any picture, so the highest score counts from that. The
        picture's mean tells the level of what is absent; but what is there raises the mean, the
        more the larger it is. Half the mean serves both.
        """
        above = scores.amax(dim=(1, 2)) - _MEAN_SHARE * scores.mean(dim=(1, 2))
        return _PRESENCE_SHARPNESS * (above - self.config.layers.presence)
