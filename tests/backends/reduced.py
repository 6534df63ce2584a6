"""SD 1.x checkpoints in miniature: true names and layout, small widths, random weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from ldznet_core import HeadConfig, LDZNetHead, save_head
from ldznet_core.unet import UNet, UNetConfig

from ..core.tiny import tiny_inputs

SIZES = UNetConfig(model_channels=32, context_dim=64)
VAE_CHANNELS = (32, 32, 64, 64)

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."


def randomise(state: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Values that keep activations near 1, for tensors of these shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, each.shape, generator) for name, each in state.items()}


@cache
def unet_state() -> dict[str, Tensor]:
    """The UNet by LDM's names, without a prefix."""
    with torch.device("meta"):
        shapes = UNet(SIZES).state_dict()
    return randomise(shapes, 0)


@cache
def vae_state() -> dict[str, Tensor]:
    """The VAE by LDM's names, without a prefix; of the decoder only the ends."""
    shapes = {
        "encoder.conv_in": (VAE_CHANNELS[0], 3, 3, 3),
        "encoder.norm_out": (VAE_CHANNELS[-1],),
        "encoder.conv_out": (8, VAE_CHANNELS[-1], 3, 3),
        "quant_conv": (8, 8, 1, 1),
        "post_quant_conv": (4, 4, 1, 1),
        "decoder.conv_in": (VAE_CHANNELS[-1], 4, 3, 3),
        "decoder.conv_out": (3, VAE_CHANNELS[0], 3, 3),
    }
    before = VAE_CHANNELS[0]
    for level, channels in enumerate(VAE_CHANNELS):
        for block in range(2):
            shapes |= _res_block(f"encoder.down.{level}.block.{block}", before, channels)
            before = channels
        if level + 1 < len(VAE_CHANNELS):
            shapes[f"encoder.down.{level}.downsample.conv"] = (channels, channels, 3, 3)
    for block in (1, 2):
        shapes |= _res_block(f"encoder.mid.block_{block}", before, before)
    shapes["encoder.mid.attn_1.norm"] = (before,)
    shapes |= {f"encoder.mid.attn_1.{part}": (before, before, 1, 1) for part in "qkv"}
    shapes["encoder.mid.attn_1.proj_out"] = (before, before, 1, 1)
    state = {f"{name}.weight": torch.empty(shape) for name, shape in shapes.items()}
    return randomise(state | {f"{n}.bias": torch.empty(s[:1]) for n, s in shapes.items()}, 1)


@cache
def text_encoder() -> CLIPTextModel:
    """The text encoder as transformers has it."""
    torch.manual_seed(2)
    config = CLIPTextConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=1,
        hidden_act="quick_gelu",
    )
    return CLIPTextModel(config).eval()


@cache
def text_state() -> dict[str, Tensor]:
    """The text encoder's weights, by the names of transformers 5."""
    state = text_encoder().state_dict()
    return {name.removeprefix("text_model."): each for name, each in state.items()}


def checkpoint(text_prefix: str = TEXT) -> dict[str, Tensor]:
    """A whole checkpoint in the layout of LDM, with what such files have besides."""
    return {
        **{UNET + name: each for name, each in unet_state().items()},
        **{VAE + name: each for name, each in vae_state().items()},
        **{text_prefix + name: each for name, each in text_state().items()},
        "alphas_cumprod": torch.linspace(1, 0, 1000),
        f"{text_prefix}embeddings.position_ids": torch.arange(77)[None],
    }


def write_checkpoint(
    file: Path, state: dict[str, Tensor] | None = None, dtype: torch.dtype = torch.float32
) -> Path:
    """The checkpoint in a file; whole numbers keep their dtype."""
    tensors = checkpoint() if state is None else state
    save_file(
        {n: (t.to(dtype) if t.is_floating_point() else t).contiguous() for n, t in tensors.items()},
        file,
    )
    return file


def write_head(file: Path, **fields: object) -> Path:
    """A head for such checkpoints, whose logits lie around 0 and vary."""
    sizes = UNetConfig(out_channels=1, model_channels=32, context_dim=64)
    config = HeadConfig(family="sd1", unet=sizes, image_side=64, **fields)  # type: ignore[arg-type]
    with torch.device("meta"):
        head = LDZNetHead(config)
    head.load_state_dict(randomise(head.state_dict(), 3), assign=True)
    with torch.no_grad():
        for parameter in head.final.parameters():  # a decoder that lets its input through
            parameter.abs_()
        logits = head.eval()(*tiny_inputs(head))
        head.final[-1].bias -= logits.median()
        for parameter in head.final[-1].parameters():
            parameter *= 2 / logits.std()
    save_head(head, file, max_shard_bytes=None)
    return file


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return noise / noise[0].numel() ** 0.5
    return 0.1 * noise + (0 if name.endswith("bias") else 1)


def _res_block(name: str, before: int, channels: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        f"{name}.norm1": (before,),
        f"{name}.conv1": (channels, before, 3, 3),
        f"{name}.norm2": (channels,),
        f"{name}.conv2": (channels, channels, 3, 3),
    }
    if before != channels:
        shapes[f"{name}.nin_shortcut"] = (channels, before, 1, 1)
    return shapes
