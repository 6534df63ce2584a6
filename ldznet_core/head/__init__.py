"""Heads: networks that turn latents, a phrase and the LDM's features into a mask."""

from __future__ import annotations

from typing import TypeAlias

from .base import HALF_IS_NOT_ENOUGH, Head, HeadSettings
from .compact import CompactHead
from .config import BlockSize, HeadConfig, activation_bytes, block_sizes
from .ldznet import LDZNetHead
from .ldznet_layers import AttentionPool, FeatureBlock, FeatureTransformer, mask_decoder

AnyHead: TypeAlias = LDZNetHead | CompactHead
"""A head with weights of its own."""


def build_head(config: HeadConfig) -> AnyHead:
    """A head of the configured kind, with fresh weights."""
    return CompactHead(config) if config.kind == "compact" else LDZNetHead(config)


__all__ = [
    "HALF_IS_NOT_ENOUGH",
    "AnyHead",
    "AttentionPool",
    "BlockSize",
    "CompactHead",
    "FeatureBlock",
    "FeatureTransformer",
    "Head",
    "HeadConfig",
    "HeadSettings",
    "LDZNetHead",
    "activation_bytes",
    "block_sizes",
    "build_head",
    "mask_decoder",
]
