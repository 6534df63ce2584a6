"""A head that is read from its file when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from ..capture import Features
from ..head import Head, HeadConfig


class HeadOnUse:
    """A head that is in memory while it works; to the segmenter it is a head like any other."""

    def __init__(self, config: HeadConfig, head: Callable[[], Head]) -> None:
        """Join a head's configuration with what gives the head."""
        self.config = config
        self._head = head

    def __call__(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits ``(P, 1, 8h, 8w)``; the arguments as in `Head`."""
        return self._head()(latents, context, features)
