"""Which UNets are understood."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ldznet_core import UnsupportedModelError
from ldznet_core.unet import UNet, UNetConfig
from ldznet_webui.family import family_of


@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (128, "miniature")])
def test_told_by_the_width_of_its_text(width: int, family: str) -> None:
    assert family_of(unet(width)) == family


@pytest.mark.parametrize(
    ("width", "sentence"),
    [(1024, "got one of SD 2.x, whose text cannot be read in the WebUI yet"), (640, "one for 640")],
)
def test_others_are_a_sentence(width: int, sentence: str) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        family_of(unet(width))


def test_so_is_sdxl() -> None:
    diffusers: Any = pytest.importorskip("diffusers", reason="SDXL's layout is taken from there")
    with torch.device("meta"):
        sdxl = diffusers.UNet2DConditionModel(
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 3),
            attention_head_dim=8,
            cross_attention_dim=2048,
        )
    with pytest.raises(UnsupportedModelError, match=r"got one of SDXL, .* cannot be read .* yet"):
        family_of(sdxl)


def test_what_is_no_unet_of_stable_diffusion_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match="got Linear"):
        family_of(torch.nn.Linear(1, 1))


def unet(width: int) -> UNet:
    with torch.device("meta"):
        return UNet(UNetConfig(model_channels=32, context_dim=width))
