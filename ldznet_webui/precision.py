"""A head in half precision that goes over to float32 where that is not enough for it."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from ldznet_core import HeadConfig
from ldznet_core.head import HALF_IS_NOT_ENOUGH, AnyHead
from ldznet_core.taps import Taps

_LOG = logging.getLogger(__name__)


class CarefulHead:
    """A network of ours around which logits are watched; to the segmenter a head like any other.

    The network itself is changed, so that one that is kept stays in float32.
    """

    def __init__(self, network: AnyHead) -> None:
        """Watch a network."""
        self._network = network

    @property
    def config(self) -> HeadConfig:
        """The network's."""
        return self._network.config

    def taps_of(self, unet: nn.Module) -> Taps:
        """Where in a UNet it wants to listen."""
        return self._network.taps_of(unet)

    def __call__(self, latents: Tensor, context: Tensor, features: Any = None) -> Tensor:
        """Logits ``(P, 1, 8h, 8w)``; the arguments as in `Head`."""
        logits: Tensor = self._network(latents, context, features)
        dtype = next(self._network.parameters()).dtype
        if dtype == torch.float32 or bool(logits.isfinite().all()):
            return logits
        again: Tensor = self._network.float()(latents, context, features)
        if bool(again.isfinite().all()):
            _LOG.warning(HALF_IS_NOT_ENOUGH)
        else:  # it is what was read, and not the head
            self._network.to(dtype)
        return again
