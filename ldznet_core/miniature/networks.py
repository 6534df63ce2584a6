"""The miniature's UNet on disk; its other parts have files of their own."""

from __future__ import annotations

from pathlib import Path

from ..sizes import whole
from ..unet import UNet, UNetConfig, infer_unet_config
from .parts import filled, load_part, part_read, save_part

HEADS = 2
"""Attention heads of the miniature's UNet, which its weights do not tell."""

_MOST_HEADS = 256


def build_unet(context_dim: int, model_channels: int = 32) -> UNet:
    """A fresh UNet of the miniature's size."""
    return UNet(UNetConfig(model_channels=model_channels, context_dim=context_dim, num_heads=HEADS))


def save_unet(unet: UNet, path: Path, provenance: str) -> None:
    """Write the UNet in half precision, in shards."""
    save_part(unet.state_dict(), path, {"num_heads": unet.config.num_heads}, provenance)


def load_unet(path: Path) -> UNet:
    """The UNet of files that `save_unet` wrote, in float32 and eval mode.

    Raises:
        CheckpointError: A file is missing, damaged, or of something else.
    """
    state, config = load_part(path)
    with part_read(path):
        sizes = infer_unet_config(state, whole(config["num_heads"], _MOST_HEADS))
    return filled(lambda: UNet(sizes), state, path)
