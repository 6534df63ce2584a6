"""What the segmenter asks of a head, whoever holds its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from ..capture import Features
from .config import HeadConfig


class Head(Protocol):
    """A network of ours, or what a host's memory management wraps around one."""

    @property
    def config(self) -> HeadConfig:
        """Kind, family, taps, thresholds."""

    def __call__(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits ``(P, 1, 8h, 8w)``, one row for each phrase.

        Args:
            latents: ``(P, C, h, w)``, or one row for all phrases; clean.
            context: ``(P, T, D)`` text features of the phrases.
            features: The LDM's by block number, a row for each phrase or one for all.
        """
