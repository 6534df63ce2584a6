"""Heads: networks that turn latents, a phrase and the LDM's features into a mask."""

from __future__ import annotations

from .base import Head, HeadSettings
from .config import BlockSize, HeadConfig, activation_bytes, block_sizes
from .layers import AttentionPool, FeatureBlock, FeatureTransformer, mask_decoder
from .ldznet import LDZNetHead

__all__ = [
    "AttentionPool",
    "BlockSize",
    "FeatureBlock",
    "FeatureTransformer",
    "Head",
    "HeadConfig",
    "HeadSettings",
    "LDZNetHead",
    "activation_bytes",
    "block_sizes",
    "mask_decoder",
]
