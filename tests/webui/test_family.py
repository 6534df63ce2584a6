"""Which UNets are understood."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ldznet_core import UnsupportedModelError
from ldznet_core.unet import UNet, UNetConfig
from ldznet_webui.family import family_of


@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (128, "miniature"), (1024, "sd2")])
def test_told_by_the_width_of_its_text(width: int, family: str) -> None:
    assert family_of(unet(width)) == family


def test_told_by_its_layout_too() -> None:
    assert family_of(of_sdxls_layout(2048)) == "sdxl"
    with pytest.raises(UnsupportedModelError, match="or 2048 wide, got one for 768: choose"):
        family_of(of_sdxls_layout(768))


@pytest.mark.parametrize("width", [640, 2048])
def test_others_are_a_sentence(width: int) -> None:
    with pytest.raises(UnsupportedModelError, match=f"SD 2.x or SDXL, .* got one for {width}"):
        family_of(unet(width))


def test_sdxls_refiner_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match=r"SDXL's refiner, .* leave the refiner out"):
        family_of(of_sdxls_layout(1280))


def test_one_that_is_told_of_pictures_is_named() -> None:
    """As SD 2.1 unCLIP is, in the layout that hosts know it in."""
    told = unet(1024)
    told.label_emb = torch.nn.Identity()
    with pytest.raises(UnsupportedModelError, match="wants a picture too, such as unCLIP"):
        family_of(told)


def test_what_is_no_unet_of_stable_diffusion_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match="got Linear"):
        family_of(torch.nn.Linear(1, 1))


def unet(width: int) -> UNet:
    with torch.device("meta"):
        return UNet(UNetConfig(model_channels=32, context_dim=width))


def of_sdxls_layout(width: int) -> Any:
    diffusers: Any = pytest.importorskip("diffusers", reason="SDXL's layout is taken from there")
    with torch.device("meta"):
        return diffusers.UNet2DConditionModel(
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 3),
            attention_head_dim=8,
            cross_attention_dim=width,
        )
