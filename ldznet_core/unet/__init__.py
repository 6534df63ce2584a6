"""The Stable Diffusion 1.x UNet in LDM key names: the frozen LDM, and the body of our head."""

from __future__ import annotations

from .attention import CrossAttention, FeedForward, SpatialTransformer, TransformerBlock
from .config import UNetConfig, infer_unet_config
from .layers import Downsample, GroupNorm32, ResBlock, Upsample, timestep_embedding, zero_init
from .model import Stage, UNet
from .recomputation import recomputed

__all__ = [
    "CrossAttention",
    "Downsample",
    "FeedForward",
    "GroupNorm32",
    "ResBlock",
    "SpatialTransformer",
    "Stage",
    "TransformerBlock",
    "UNet",
    "UNetConfig",
    "Upsample",
    "infer_unet_config",
    "recomputed",
    "timestep_embedding",
    "zero_init",
]
