"""Small valid files of every kind that is loaded, to be damaged."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel
from transformers.utils import logging

from ldznet_core import HeadConfig, LDZNetHead, save_head
from ldznet_core.miniature.networks import build_unet, save_unet
from ldznet_core.miniature.text import TextEncoder, save_text_encoder, tokens_of
from ldznet_core.miniature.vae import build_vae, save_vae
from ldznet_core.unet import UNetConfig
from ldznet_core.unet.diffusers_keys import diffusers_config

from ..core.official.checkpoint import SMALL, official_state, random_weights, save_checkpoint
from ..core.official.layout import text_shapes, unet_shapes, vae_shapes

HEAD, SHARDS = "head.safetensors", "shards"
CHECKPOINT, OFFICIAL = "official.ckpt", "official.safetensors"
SD, PIPELINE = "sd.safetensors", "pipeline"
MINIATURE, SETTINGS = "miniature", "miniature"
"""The folder, and where in a part's header its sizes stand."""

_CONTEXT, _WIDTH = 8, 32
_LEVELS = (1, 2, 1, 1)


def write_seeds(folder: Path) -> None:
    """Write one of each, by the names above."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    sizes = UNetConfig(
        out_channels=1,
        model_channels=32,
        channel_mult=(1, 1),
        num_res_blocks=1,
        transformer_levels=1,
        context_dim=_CONTEXT,
        num_heads=4,
    )
    head = LDZNetHead(HeadConfig(family="sd1", unet=sizes, taps=(1, 2), image_side=64)).half()
    save_head(head, folder / HEAD, max_shard_bytes=None)
    (folder / SHARDS).mkdir()
    save_head(head, folder / SHARDS / "head", max_shard_bytes=300_000)

    state = official_state(**SMALL, groups=("schedule", "ema", "text"))
    state = {name: _halved(tensor) for name, tensor in state.items()}
    save_checkpoint(state, folder / CHECKPOINT)
    save_file(state, folder / OFFICIAL)

    save_file(_stable_diffusion(), folder / SD)
    _write_pipeline(folder / PIPELINE)
    _write_miniature(folder / MINIATURE)


def _stable_diffusion() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    unet = unet_shapes(32, _CONTEXT, is_head=False, multiples=_LEVELS)
    text = text_shapes(_CONTEXT)
    encoder = {name: shape for name, shape in vae_shapes(32).items() if "decoder" not in name}
    prefix = "cond_stage_model.transformer.text_model."
    state = random_weights(unet, generator, "model.diffusion_model.")
    state |= random_weights(encoder, generator, "first_stage_model.")
    state |= random_weights(text, generator, prefix)
    state[f"{prefix}embeddings.position_ids"] = torch.arange(77)[None]
    return {name: _halved(tensor) for name, tensor in state.items()}


def _write_miniature(folder: Path) -> None:
    save_unet(build_unet(_WIDTH), folder / "unet", "random")
    save_vae(build_vae((32, 32, 32, 32), 64), folder / "vae", "random")
    encoder = TextEncoder(tokens_of(["owl", "car"]), width=_WIDTH, layers=1)
    save_text_encoder(encoder, folder / "text_encoder", "random")


def _write_pipeline(folder: Path) -> None:
    sizes = UNetConfig(model_channels=32, channel_mult=_LEVELS, context_dim=_CONTEXT)
    unet = UNet2DConditionModel(**diffusers_config(sizes))
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=2,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=_CONTEXT,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=1,
            vocab_size=49408,
        )
    )
    for part, network in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        network.half().save_pretrained(folder / part)


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
