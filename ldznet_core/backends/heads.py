"""A head that is read from its file when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..head import Head, HeadConfig
from ..taps import Taps


class HeadOnUse:
    """A head that is in memory while it works; to the segmenter it is a head like any other."""

    def __init__(self, config: HeadConfig, head: Callable[[], Head]) -> None:
        """Join a head's configuration with what gives the head."""
        self.config = config
        self._head = head

    def taps_of(self, unet: nn.Module) -> Taps:
        """Where in a UNet it wants to listen; it need not be in memory for that."""
        return self.config.taps_of(unet)

    def __call__(self, latents: Tensor, context: Tensor, features: Any = None) -> Tensor:
        """Logits ``(P, 1, 8h, 8w)``; the arguments as in `Head`."""
        return self._head()(latents, context, features)
