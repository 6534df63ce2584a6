"""The same UNet under diffusers' names: `UNet2DConditionModel` holds equal tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..errors import CheckpointError
from .config import UNetConfig

_RES_BLOCK = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def to_diffusers(state_dict: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """Weights in LDM key names, renamed for diffusers."""
    return _renamed(state_dict, diffusers_modules(config))


def from_diffusers(state_dict: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """Weights of diffusers, renamed to LDM key names."""
    return _renamed(
        state_dict, {theirs: ours for ours, theirs in diffusers_modules(config).items()}
    )


def diffusers_config(config: UNetConfig) -> dict[str, object]:
    """The arguments with which diffusers' `UNet2DConditionModel` has this layout."""
    levels = range(len(config.channel_mult))
    attends = [level < config.transformer_levels for level in levels]
    return {
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": [config.model_channels * times for times in config.channel_mult],
        "layers_per_block": config.num_res_blocks,
        "cross_attention_dim": config.context_dim,
        "attention_head_dim": config.num_heads,  # diffusers' old misnomer: the number of heads
        "down_block_types": [
            "CrossAttnDownBlock2D" if attends[level] else "DownBlock2D" for level in levels
        ],
        "up_block_types": [
            "CrossAttnUpBlock2D" if attends[level] else "UpBlock2D" for level in reversed(levels)
        ],
    }


def diffusers_modules(config: UNetConfig) -> dict[str, str]:
    """Diffusers' name of every module that holds weights, by its LDM name.

    Transformers have the same names inside and stand here as a whole.
    """
    modules = dict(_ENDS)
    last_level = len(config.channel_mult) - 1
    for level in range(last_level + 1):
        first = 1 + level * (config.num_res_blocks + 1)
        for index in range(config.num_res_blocks):
            modules |= _stage(f"input_blocks.{first + index}", f"down_blocks.{level}", index)
        if level < last_level:
            downsample = f"input_blocks.{first + config.num_res_blocks}.0.op"
            modules[downsample] = f"down_blocks.{level}.downsamplers.0.conv"

    modules |= _stage("middle_block", "mid_block", 0)
    modules |= _res_block("middle_block.2", "mid_block.resnets.1")

    for step in range(last_level + 1):
        first = step * (config.num_res_blocks + 1)
        for index in range(config.num_res_blocks + 1):
            modules |= _stage(f"output_blocks.{first + index}", f"up_blocks.{step}", index)
        if step < last_level:
            has_transformer = last_level - step < config.transformer_levels
            upsample = f"output_blocks.{first + config.num_res_blocks}.{1 + has_transformer}.conv"
            modules[upsample] = f"up_blocks.{step}.upsamplers.0.conv"
    return modules


def _stage(ours: str, theirs: str, index: int) -> dict[str, str]:
    """A stage's ResBlock, and the transformer that may follow it."""
    return {
        **_res_block(f"{ours}.0", f"{theirs}.resnets.{index}"),
        f"{ours}.1": f"{theirs}.attentions.{index}",
    }


def _res_block(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{layer}": f"{theirs}.{name}" for layer, name in _RES_BLOCK.items()}


def _renamed(state_dict: Mapping[str, Tensor], modules: Mapping[str, str]) -> dict[str, Tensor]:
    return {_rename(key, modules): tensor for key, tensor in state_dict.items()}


def _rename(key: str, modules: Mapping[str, str]) -> str:
    module, rest = key, ""
    while "." in module:
        module, _, name = module.rpartition(".")
        rest = f".{name}{rest}"
        if module in modules:
            return modules[module] + rest
    raise CheckpointError(
        f"expected the weights of an SD 1.x UNet, but none of its modules holds {key}: "
        "check the file's layout and its prefix"
    )
