"""Taps: the paper's block numbers in each layout, and a sentence for every other model."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from diffusers import (
    ControlNetModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from torch import nn

from ldznet_core.errors import InputError, UnsupportedModelError
from ldznet_core.taps import BLOCKS, find_taps
from ldznet_core.unet import UNet, UNetConfig
from ldznet_core.unet.diffusers_keys import diffusers_config

SMALL = UNetConfig(model_channels=32, channel_mult=(1, 1, 1, 1), context_dim=16, num_heads=4)
LDM_NAMES = [
    *(f"input_blocks.{stage}.1" for stage in (1, 2, 4, 5, 7, 8)),
    "middle_block.1",
    *(f"output_blocks.{stage}.1" for stage in range(3, 12)),
]
DIFFUSERS_NAMES = [
    *(f"down_blocks.{stage}.attentions.{index}" for stage in range(3) for index in range(2)),
    "mid_block.attentions.0",
    *(f"up_blocks.{stage}.attentions.{index}" for stage in (1, 2, 3) for index in range(3)),
]


def ldm_unet() -> nn.Module:
    with torch.device("meta"):
        return UNet(SMALL)


def diffusers_unet(**changes: object) -> nn.Module:
    with torch.device("meta"):
        return cast("nn.Module", UNet2DConditionModel(**diffusers_config(SMALL) | changes))


@pytest.mark.parametrize(
    ("unet", "names"),
    [(ldm_unet(), LDM_NAMES), (diffusers_unet(), DIFFUSERS_NAMES)],
    ids=["ldm", "diffusers"],
)
def test_the_16_blocks_are_where_the_paper_counts_them(unet: nn.Module, names: list[str]) -> None:
    taps = find_taps(unet, range(1, 17))
    assert [tap.name for tap in taps.values()] == names
    assert all(unet.get_submodule(tap.name) is tap.module for tap in taps.values())


def test_the_head_s_blocks_come_unless_others_are_asked_for() -> None:
    taps = find_taps(ldm_unet())
    assert tuple(taps) == BLOCKS == (6, 7, 8, 9, 10)
    assert [tap.name for tap in taps.values()] == LDM_NAMES[5:10]


def test_taps_stand_in_the_order_of_a_pass() -> None:
    assert list(find_taps(ldm_unet(), (10, 3, 7, 3))) == [3, 7, 10]


def test_the_layout_is_told_by_structure_not_by_class() -> None:
    class SomeHostsUNet(nn.Module):
        def __init__(self, parts: nn.Module) -> None:
            super().__init__()
            for name, part in parts.named_children():
                self.add_module(name, part)

    assert [tap.name for tap in find_taps(SomeHostsUNet(ldm_unet())).values()] == LDM_NAMES[5:10]


def test_transformers_that_others_put_beside_ours_are_not_counted() -> None:
    """As AnimateDiff's motion modules do, appended to a stage with transformers inside."""
    unet = ldm_unet()
    motion = nn.Module()
    motion.add_module("temporal", find_taps(unet)[6].module)
    cast("nn.Sequential", unet.get_submodule("input_blocks.1")).append(motion)
    assert [tap.name for tap in find_taps(unet).values()] == LDM_NAMES[5:10]


def sdxl() -> nn.Module:
    return diffusers_unet(
        block_out_channels=[32, 32, 32],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    )


def video() -> nn.Module:
    """Stable Video Diffusion's, of the layout of SD 2.x, with frames mixed in each transformer."""
    return cast(
        "nn.Module",
        UNetSpatioTemporalConditionModel(
            in_channels=8,
            block_out_channels=(32, 32, 32, 32),
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24,
            num_attention_heads=(2, 2, 2, 2),
            cross_attention_dim=16,
        ),
    )


def sd3() -> nn.Module:
    with torch.device("meta"):
        return cast("nn.Module", SD3Transformer2DModel(num_layers=1))


def control_net() -> nn.Module:
    with torch.device("meta"):
        return cast("nn.Module", ControlNetModel())


@pytest.mark.parametrize(
    ("model", "what_came"),
    [
        (sdxl(), r"UNet2DConditionModel with 4 \+ 1 \+ 6, as in SDXL"),
        (video(), "UNetSpatioTemporalConditionModel for video"),
        (sd3(), "SD3Transformer2DModel"),
        (control_net(), "ControlNetModel"),
        (nn.Linear(1, 1), "Linear"),
        ("model.safetensors", "str"),
    ],
    ids=["sdxl", "video", "sd3", "controlnet", "linear", "text"],
)
def test_other_models_are_named(model: nn.Module, what_came: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"got {what_came}:"):
        find_taps(model)


def test_transformers_without_a_unet_are_told_not_yet() -> None:
    with pytest.raises(UnsupportedModelError, match="SD3 and Flux, cannot be read yet, so "):
        find_taps(sd3())


@pytest.mark.parametrize("blocks", [(), (0,), (6, 17)])
def test_block_numbers_are_1_to_16(blocks: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="from 1 to 16, got"):
        find_taps(ldm_unet(), blocks)
