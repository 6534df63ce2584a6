"""The miniature's UNet on disk; its other parts have files of their own."""

from __future__ import annotations

from pathlib import Path

from ..unet import UNet, UNetConfig, infer_unet_config
from ..weights import read_weights, write_weights

HEADS = 2
"""Attention heads of the miniature's UNet, which its weights do not tell."""


def build_unet(context_dim: int, model_channels: int = 32) -> UNet:
    """A fresh UNet of the miniature's size."""
    return UNet(UNetConfig(model_channels=model_channels, context_dim=context_dim, num_heads=HEADS))


def save_unet(unet: UNet, path: Path, provenance: str) -> None:
    """Write the UNet in half precision, in shards."""
    metadata = {"num_heads": str(unet.config.num_heads), "training": provenance}
    write_weights({name: value.half() for name, value in unet.state_dict().items()}, path, metadata)


def load_unet(path: Path) -> UNet:
    """The UNet of files that `save_unet` wrote, in float32 and eval mode."""
    state, metadata = read_weights(path)
    unet = UNet(infer_unet_config(state, int(metadata["num_heads"])))
    unet.load_state_dict({name: value.float() for name, value in state.items()})
    return unet.eval().requires_grad_(False)
