"""The networks of an SD 1.x model, as large as their weights say, and frozen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from ..errors import UnsupportedModelError
from ..phrases import TOKEN_LIMIT
from ..stored import check_fit, read_tensors
from ..taps import BLOCKS, find_taps
from ..tokenizer import VOCABULARY_SIZE
from ..unet import UNet
from .layouts import Parts, Tensors, shapes_read

Network = TypeVar("Network", bound=nn.Module)

_HEAD_CHANNELS = 64  # of CLIP's text encoders, in every size


def load_unet(
    parts: Parts, *, device: torch.device, dtype: torch.dtype, whole: bool = False
) -> UNet:
    """The UNet; without the weights that come after the last tap, unless it is wanted whole.

    Raises:
        CheckpointError: The weights are not those of an SD 1.x UNet, or damaged.
    """
    unet = check_unet(parts)
    unreached = [] if whole else _beyond_the_taps(unet)
    left_out = tuple(f"{name}." for name in unreached)
    wanted = {name: each for name, each in parts.unet.items() if not name.startswith(left_out)}
    read = read_tensors(wanted, device=device, dtype=dtype)
    unet.load_state_dict(read, strict=False, assign=True)
    for name in unreached:
        unet.get_submodule(name).register_forward_pre_hook(_refuse_to_go_on)
    return _frozen(unet)


def check_unet(parts: Parts) -> UNet:
    """A UNet without values, once its weights are known to fit; only headers are read.

    Raises:
        CheckpointError: They are not those of an SD 1.x UNet.
        UnsupportedModelError: It has not the transformers of one.
    """
    with shapes_read("UNet", parts.source), torch.device("meta"):
        unet = UNet(parts.unet_config)
    _check(unet, parts.unet, "UNet", parts.source)
    find_taps(unet)
    return unet


def load_encoder(parts: Parts, *, device: torch.device) -> AutoencoderKL:
    """The encoder's half of the VAE, in float32; the decoder is left out.

    Raises:
        CheckpointError: The weights are not those of an SD 1.x VAE, or damaged.
    """
    with shapes_read("VAE", parts.source), torch.device("meta"):
        channels, layers = _levels(parts.vae)
        vae = AutoencoderKL(
            block_out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            layers_per_block=layers,
            latent_channels=parts.unet_config.in_channels,
            scaling_factor=parts.scaling_factor,
        )
    vae.decoder = vae.post_quant_conv = None
    _check(vae, parts.vae, "VAE's encoder", parts.source)
    vae.load_state_dict(read_tensors(parts.vae, device=device), assign=True)
    return _frozen(vae)


def load_text_encoder(parts: Parts, *, device: torch.device) -> CLIPTextModel:
    """CLIP's text encoder, in float32.

    Raises:
        CheckpointError: The weights are not those of such an encoder, or damaged.
        UnsupportedModelError: It reads other tokens, or the UNet other text features.
    """
    with shapes_read("text encoder", parts.source):
        vocabulary, width = parts.text["embeddings.token_embedding.weight"].shape
        hidden = parts.text["encoder.layers.0.mlp.fc1.weight"].shape[0]
    context_dim = parts.unet_config.context_dim
    if width != context_dim or vocabulary < VOCABULARY_SIZE:
        raise UnsupportedModelError(
            f"expected text features of width {context_dim}, as the UNet reads them, from "
            f"{VOCABULARY_SIZE} tokens in {parts.source}, got width {width} from {vocabulary}: "
            "take the text encoder that the UNet was trained with"
        )
    with shapes_read("text encoder", parts.source), torch.device("meta"):
        config = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=hidden,
            num_hidden_layers=len(_numbers(r"encoder\.layers\.(\d+)\.", parts.text)),
            num_attention_heads=parts.text_heads or max(1, width // _HEAD_CHANNELS),
            max_position_embeddings=TOKEN_LIMIT,
            hidden_act=parts.text_activation,
        )
        encoder = CLIPTextModel(config)
    inner = getattr(encoder, "text_model", encoder)  # transformers 4 has one level more
    _check(inner, parts.text, "text encoder", parts.source)
    inner.load_state_dict(read_tensors(parts.text, device=device), assign=True)
    inner.embeddings.position_ids = torch.arange(TOKEN_LIMIT, device=device).expand(1, -1)
    return _frozen(encoder)


def _check(network: nn.Module, given: Tensors, what: str, source: Path) -> None:
    check_fit(
        network.state_dict(),
        given,
        f"the {what} in {source}",
        remedy="choose an unquantised SD 1.x checkpoint, or copy the file again",
    )


def _frozen(network: Network) -> Network:
    return network.eval().requires_grad_(False)


def _beyond_the_taps(unet: UNet) -> list[str]:
    """The modules that a pass has not reached when the last tap fires, by name."""
    last = find_taps(unet)[max(BLOCKS)].name  # output_blocks.5.1
    part, stage, layer = last.split(".")
    layers = len(unet.get_submodule(f"{part}.{stage}"))  # type: ignore[arg-type]  # a Stage
    return [
        *(f"{part}.{stage}.{number}" for number in range(int(layer) + 1, layers)),
        *(f"{part}.{number}" for number in range(int(stage) + 1, len(unet.output_blocks))),
        "out",
    ]


def _refuse_to_go_on(module: nn.Module, inputs: object) -> None:
    raise UnsupportedModelError(
        "expected a pass that ends after the last tap, for the rest of this UNet was not loaded: "
        "load it with whole_unet=True"
    )


def _levels(vae: Tensors) -> tuple[tuple[int, ...], int]:
    """Channels by level of a VAE's encoder, and ResBlocks in each."""
    levels = _numbers(r"encoder\.down_blocks\.(\d+)\.", vae)
    resnet = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    channels = tuple(vae[resnet.format(level)].shape[0] for level in range(len(levels)))
    return channels, len(_numbers(r"encoder\.down_blocks\.0\.resnets\.(\d+)\.", vae))


def _numbers(pattern: str, tensors: Tensors) -> set[str]:
    """The different numbers that names have in a place."""
    return {match[1] for name in tensors if (match := re.match(pattern, name))}
