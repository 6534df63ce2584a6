"""The sizes of a UNet, given or read from the shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import CheckpointError, UnsupportedModelError


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """The sizes of a UNet; the defaults are Stable Diffusion 1.x."""

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    """Width of each level, in multiples of ``model_channels``; each level halves the sides."""
    num_res_blocks: int = 2
    transformer_levels: int = 3
    """Levels 0 .. n-1 carry spatial transformers; the middle always has one."""
    context_dim: int = 768
    num_heads: int = 8

    @property
    def stride(self) -> int:
        """The sides of the latents must be multiples of this."""
        return 1 << (len(self.channel_mult) - 1)


def infer_unet_config(state_dict: Mapping[str, Tensor], num_heads: int = 8) -> UNetConfig:
    """The sizes of the UNet whose weights these are, by LDM key names without a prefix.

    Args:
        state_dict: The UNet's own entries, such as ``input_blocks.0.0.weight``.
        num_heads: Attention heads; weights do not tell, and published SD 1.x files have 8.

    Raises:
        CheckpointError: A tensor that every such UNet has is missing.
        UnsupportedModelError: The weights are of a UNet with another layout (SD 2.x, SDXL).
    """
    _refuse_other_layouts(state_dict)
    first = _weight(state_dict, "input_blocks.0.0")
    model_channels = first.shape[0]
    levels = _levels(state_dict)
    return UNetConfig(
        in_channels=first.shape[1],
        out_channels=_weight(state_dict, "out.2").shape[0],
        model_channels=model_channels,
        channel_mult=tuple(channels // model_channels for channels, _, _ in levels),
        num_res_blocks=levels[0][1],
        transformer_levels=sum(has_transformer for _, _, has_transformer in levels),
        context_dim=_weight(state_dict, "middle_block.1.transformer_blocks.0.attn2.to_k").shape[1],
        num_heads=num_heads,
    )


def _levels(state_dict: Mapping[str, Tensor]) -> list[tuple[int, int, bool]]:
    """Per level: its channels, its number of ResBlocks, whether it has transformers."""
    levels: list[tuple[int, int, bool]] = []
    channels = res_blocks = 0
    index, has_transformer = 1, False
    while True:
        stage = f"input_blocks.{index}"
        if f"{stage}.0.out_layers.3.weight" in state_dict:
            channels = state_dict[f"{stage}.0.out_layers.3.weight"].shape[0]
            has_transformer = f"{stage}.1.proj_in.weight" in state_dict
            res_blocks += 1
        else:
            levels.append((channels, res_blocks, has_transformer))
            if f"{stage}.0.op.weight" not in state_dict:
                return levels
            res_blocks = 0
        index += 1


def _refuse_other_layouts(state_dict: Mapping[str, Tensor]) -> None:
    if "label_emb.0.0.weight" in state_dict:
        raise UnsupportedModelError(
            "expected the UNet of SD 1.x, got one with label embeddings (SDXL): take SD 1.x weights"
        )
    projection = _weight(state_dict, "middle_block.1.proj_in")
    if projection.ndim != 4:
        raise UnsupportedModelError(
            "expected the UNet of SD 1.x, got one whose transformers project by linear layers "
            "(SD 2.x or later): take SD 1.x weights"
        )


def _weight(state_dict: Mapping[str, Tensor], module: str) -> Tensor:
    name = f"{module}.weight"
    if name not in state_dict:
        raise CheckpointError(
            f"expected UNet weights in LDM key names, but {name} is missing among "
            f"{len(state_dict)} entries: strip the prefix (model.diffusion_model.) or convert first"
        )
    return state_dict[name]
