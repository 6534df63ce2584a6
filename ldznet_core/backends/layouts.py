"""Where the parts of an SD 1.x model lie in its files, under the names that our networks give.

Two layouts are read: the single file of CompVis (LDM) and the folder of diffusers.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError, UnsupportedModelError
from ..miniature.ldm_layout import METADATA_KEY
from ..sizes import sizes_read
from ..stored import StoredTensor, list_tensors
from ..unet import UNet, UNetConfig, infer_unet_config
from ..weights import read_header
from .folders import PipelineFolder

Tensors = dict[str, StoredTensor]

_UNET, _VAE, _TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
_LATENT_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Parts:
    """The weights of a model by part, still on disk, and what else its networks are built from."""

    source: Path
    unet: Tensors
    """By LDM's names, without a prefix."""
    unet_config: UNetConfig
    vae: Tensors
    """The encoder's half, by diffusers' names."""
    text: Tensors
    """By the names of transformers 5."""
    text_heads: int | None = None
    """None: a head for every 64 channels, as in OpenAI's models."""
    text_activation: str = "quick_gelu"
    scaling_factor: float = 0.18215
    """From the VAE's latents to those that the UNet takes."""


def find_in_ldm_file(file: Path) -> Parts:
    """The parts of a single file.

    The plain UNet is taken where there is one, as the authors of LD-ZNet do, else its average.

    Raises:
        CheckpointError: It is no safetensors file, or a part is missing.
        UnsupportedModelError: It is of another family than SD 1.x.
    """
    tensors = list_tensors(file)
    if METADATA_KEY in read_header(file):
        raise UnsupportedModelError(
            f"expected a checkpoint of SD 1.x, got the miniature for other hosts in {file}: "
            'say "miniature", or name the folder of its weights'
        )
    unet = _below(_UNET, tensors) or _averaged(tensors)
    return Parts(
        file,
        _present(unet, f"a UNet ({_UNET}*)", file),
        _sizes(unet, file),
        _present(encoder_names(_below(_VAE, tensors)), f"a VAE ({_VAE}encoder.*)", file),
        _present(text_names(_below(_TEXT, tensors)), f"a text encoder ({_TEXT}*)", file),
    )


def find_in_folder(path: Path) -> Parts:
    """The parts of a diffusers pipeline's folder.

    Raises:
        CheckpointError: A part has no safetensors, or a configuration cannot be read.
        UnsupportedModelError: It is of another family than SD 1.x.
    """
    folder = PipelineFolder(path)
    unet = folder.unet()
    return Parts(
        path,
        unet,
        _sizes(unet, path, folder.unet_heads),
        encoder_names(folder.tensors("vae")),
        text_names(folder.tensors("text_encoder")),
        folder.text_heads,
        folder.text_activation,
        folder.scaling_factor,
    )


_ENCODER_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in [
        # LDM's (CompVis/latent-diffusion:ldm/modules/diffusionmodules/model.py)
        (r"^encoder\.down\.(\d+)\.block\.(\d+)\.", r"encoder.down_blocks.\1.resnets.\2."),
        (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
        (r"^encoder\.mid\.block_1\.", "encoder.mid_block.resnets.0."),
        (r"^encoder\.mid\.block_2\.", "encoder.mid_block.resnets.1."),
        (r"^encoder\.mid\.attn_1\.norm\.", "encoder.mid_block.attentions.0.group_norm."),
        (r"^encoder\.mid\.attn_1\.([qkv])\.", r"encoder.mid_block.attentions.0.to_\1."),
        (r"^encoder\.mid\.attn_1\.proj_out\.", "encoder.mid_block.attentions.0.to_out.0."),
        (r"^encoder\.norm_out\.", "encoder.conv_norm_out."),
        (r"\.nin_shortcut\.", ".conv_shortcut."),
        # diffusers' own of old, which many folders still have
        (r"\.attentions\.0\.query\.", ".attentions.0.to_q."),
        (r"\.attentions\.0\.key\.", ".attentions.0.to_k."),
        (r"\.attentions\.0\.value\.", ".attentions.0.to_v."),
        (r"\.attentions\.0\.proj_attn\.", ".attentions.0.to_out.0."),
    ]
)


def encoder_names(vae: Tensors) -> Tensors:
    """The encoder's half of a VAE by the names of diffusers, whichever names it came under."""
    renamed: Tensors = {}
    for name, tensor in vae.items():
        if name.startswith(("encoder.", "quant_conv.")):
            for pattern, theirs in _ENCODER_NAMES:
                name = pattern.sub(theirs, name)
            is_linear = ".attentions." in name and tensor.shape[2:] == (1, 1)  # LDM has 1x1 kernels
            renamed[name] = replace(tensor, shape=tensor.shape[:2]) if is_linear else tensor
    return renamed


def text_names(text: Tensors) -> Tensors:
    """The weights of a text encoder by the names of transformers 5.

    Version 4 and OpenAI put ``text_model.`` in front. Positions are counted, no weights; the
    projection to the space of pictures is not used.
    """
    unused = ("embeddings.position_ids", "text_projection.weight", "logit_scale")
    plain = {name.removeprefix("text_model."): tensor for name, tensor in text.items()}
    return {name: tensor for name, tensor in plain.items() if name not in unused}


def shapes_read(what: str, source: Path) -> AbstractContextManager[None]:
    """`sizes_read` of a part of Stable Diffusion."""
    return sizes_read(
        f"expected weights in the shapes of an SD 1.x {what} in {source}, got others",
        "copy the file again, or choose another",
    )


def _below(prefix: str, tensors: Tensors) -> Tensors:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _averaged(tensors: Tensors) -> Tensors:
    """The UNet's moving average, whose names in the file have lost their dots.

    They are built forwards, for there is no way back from them.
    """
    with torch.device("meta"):
        names = UNet(UNetConfig()).state_dict()
    stored = {name: "model_ema.diffusion_model" + name.replace(".", "") for name in names}
    return {name: tensors[theirs] for name, theirs in stored.items() if theirs in tensors}


def _sizes(unet: Tensors, source: Path, heads: int = 8) -> UNetConfig:
    if unet and "input_blocks.0.0.weight" not in unet:
        raise UnsupportedModelError(
            f"expected the UNet of an SD 1.x model in {source}, got another network, such as "
            f"{next(iter(unet))}: take an SD 1.x checkpoint"
        )
    shapes = {name: _without_values(tensor) for name, tensor in unet.items()}
    with shapes_read("UNet", source):
        config = infer_unet_config(shapes, heads)
    if config.in_channels != _LATENT_CHANNELS:
        raise UnsupportedModelError(
            f"expected a UNet that reads {_LATENT_CHANNELS} channels in {source}, got one that "
            f"reads {config.in_channels} (made for inpainting or editing): take the plain SD 1.x "
            "model that it was made from"
        )
    return config


def _without_values(tensor: StoredTensor) -> Tensor:
    return torch.empty(tensor.shape, device="meta")


def _present(tensors: Tensors, what: str, file: Path) -> Tensors:
    if not tensors:
        raise CheckpointError(
            f"expected {what} in {file}, found none: take a whole SD 1.x checkpoint, with UNet, "
            "VAE and text encoder in one file"
        )
    return tensors
