"""LD-ZNet with features concatenated, which the paper compares its cross-attention with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..head import HeadConfig, LDZNetHead
from ..unet import SpatialTransformer, UNetConfig


class ConcatenationHead(LDZNetHead):
    """The LDM's features join the channels before the spatial transformer (paper, table 4)."""

    @classmethod
    def from_unet(cls, state_dict: Mapping[str, Tensor], config: HeadConfig) -> LDZNetHead:
        """A head to be trained, started from the LDM's own UNet; at first it is a ZNet."""
        return super().from_unet({**cls(config).state_dict(), **state_dict}, config)

    def _make_transformer(self, block: int, channels: int, unet: UNetConfig) -> SpatialTransformer:
        if block in self.config.taps:
            return ConcatenationTransformer(block, channels, unet)
        return SpatialTransformer(channels, unet.context_dim, unet.num_heads)


class ConcatenationTransformer(SpatialTransformer):
    """A spatial transformer that reads its map and its block's features side by side."""

    def __init__(self, block: int, channels: int, unet: UNetConfig) -> None:
        """Build with weights that pass the map on and leave the features out.

        Args:
            block: The number under which it finds its features.
            channels: Those of its map, and of the features.
            unet: Sizes of the UNet that it stands in.
        """
        super().__init__(channels, unet.context_dim, unet.num_heads)
        self.block = block
        self.mix = nn.Conv2d(2 * channels, channels, 1)
        nn.init.dirac_(self.mix.weight)  # the first half is the map; the rest is silent, not dead
        nn.init.zeros_(self.mix.get_parameter("bias"))

    def forward(
        self, x: Tensor, context: Tensor, features: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """The map after it has read its block's features and the text.

        Args:
            x: ``(B, C, h, w)``.
            context: ``(B, T, D)`` text features.
            features: By block number, ``(B, C, h, w)`` or one row for all; the head has seen to
                it that those of this block are there.
        """
        feature = (features or {})[self.block].expand(len(x), -1, -1, -1)
        return super().forward(self.mix(torch.cat([x, feature], dim=1)), context)
