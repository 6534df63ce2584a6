"""The miniature's weights under the names of LDM, as single-file checkpoints have them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..phrases import TOKEN_LIMIT

UNET, VAE, TEXT = (
    "model.diffusion_model.",
    "first_stage_model.",
    "cond_stage_model.transformer.text_model.",
)
"""What names begin with, by part."""

METADATA_KEY = "ldznet_miniature"
"""In the header of an exported checkpoint, which tells it from one of SD 1.x."""


def whole_vocabulary(text: Mapping[str, Tensor], vocabulary_size: int) -> dict[str, Tensor]:
    """The text encoder's weights with an embedding row for every token of CLIP.

    On disk only the tokens of the miniature's world have a row; all others share the last one.
    """
    state = dict(text)
    own_rows = state.pop("token_ids")
    table = state.pop("embeddings.token_embedding.weight")
    embedding = table[-1].repeat(vocabulary_size, 1)
    embedding[own_rows] = table[:-1]
    state["embeddings.token_embedding.weight"] = embedding
    state["embeddings.position_ids"] = torch.arange(TOKEN_LIMIT)[None]
    return state


_VAE_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in [
        # diffusers' -> LDM's (CompVis/latent-diffusion:ldm/modules/diffusionmodules/model.py)
        (r"\.(down|up)_blocks\.(\d+)\.resnets\.(\d+)\.", r".\1.\2.block.\3."),
        (r"\.(down|up)_blocks\.(\d+)\.(down|up)samplers\.0\.", r".\1.\2.\3sample."),
        (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
        (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
        (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
        (r"\.attn_1\.group_norm\.", ".attn_1.norm."),
        (r"\.attn_1\.to_([qkv])\.", r".attn_1.\1."),
        (r"\.attn_1\.to_out\.0\.", ".attn_1.proj_out."),
        (r"\.conv_norm_out\.", ".norm_out."),
        (r"\.conv_shortcut\.", ".nin_shortcut."),
    ]
)
_UP = re.compile(r"^decoder\.up\.(\d+)\.")


def ldm_vae(vae: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE of diffusers' names by LDM's; what is linear there is a 1x1 convolution here."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in vae.items():
        for pattern, theirs in _VAE_NAMES:
            name = pattern.sub(theirs, name)
        is_linear = ".attn_1." in name and tensor.ndim == 2
        renamed[name] = tensor[:, :, None, None] if is_linear else tensor
    last = max((int(up[1]) for name in renamed if (up := _UP.match(name))), default=0)
    # LDM counts the levels of the decoder from the finest, diffusers in the order of their use.
    return {
        _UP.sub(lambda up: f"decoder.up.{last - int(up[1])}.", name): tensor
        for name, tensor in renamed.items()
    }
