"""Writes an SD 1.5 checkpoint of the true size with random weights, and a head for it.

Usage: random_sd1.py PROJECT CHECKPOINT HEAD. Forge takes the sizes of VAE and text encoder from
folders of its own, so there the miniature will not do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def main() -> None:
    """Write both files, in half precision."""
    project, checkpoint, head = sys.argv[1:]
    sys.path.insert(0, project)
    generator = torch.Generator().manual_seed(0)
    shapes = dict(checkpoint_shapes())
    save_file(filled(shapes, generator), checkpoint)
    write_head(Path(head), generator)


def checkpoint_shapes() -> Iterator[tuple[str, torch.Size]]:
    """Every weight of a checkpoint by LDM's name, and its shape."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    from ldznet_core.miniature.ldm_layout import TEXT, UNET, VAE, ldm_vae
    from ldznet_core.unet import UNet, UNetConfig

    with torch.device("meta"):
        unet = UNet(UNetConfig())
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
        sizes = {"hidden_size": 768, "intermediate_size": 3072}
        text = CLIPTextModel(CLIPTextConfig(num_hidden_layers=12, num_attention_heads=12, **sizes))
    texts = {name.removeprefix("text_model."): value for name, value in text.named_parameters()}
    for prefix, state in (
        (UNET, unet.state_dict()),
        (VAE, ldm_vae(vae.state_dict())),
        (TEXT, texts),
    ):
        yield from ((prefix + name, value.shape) for name, value in state.items())


def filled(shapes: Mapping[str, torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
    """Random weights that keep activations near 1."""
    return {name: _weight(name, shape, generator) for name, shape in shapes.items()}


def write_head(path: Path, generator: torch.Generator) -> None:
    """Write a head for features of SD 1.x."""
    from ldznet_core import HeadConfig, LDZNetHead, save_head
    from ldznet_core.unet import UNetConfig

    with torch.device("meta"):
        head = LDZNetHead(HeadConfig(family="sd1", unet=UNetConfig(out_channels=1)))
    shapes = {name: value.shape for name, value in head.state_dict().items()}
    head.load_state_dict(filled(shapes, generator), assign=True)
    save_head(head, path, max_shard_bytes=None)


def _weight(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    weight = torch.empty(shape, dtype=torch.float16)
    if len(shape) > 1:
        deviation = 0.02 if "embedding" in name else weight[0].numel() ** -0.5
        return weight.normal_(std=deviation, generator=generator)
    if name.endswith("final_layer_norm.bias"):  # hosts divide by the mean of a text's features
        return weight.normal_(mean=0.1, std=0.1, generator=generator)
    return weight.fill_(0.0 if name.endswith("bias") else 1.0)


if __name__ == "__main__":
    main()
