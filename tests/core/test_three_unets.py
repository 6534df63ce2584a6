"""One set of weights in three UNets: ours, CompVis' own and diffusers' give the same features."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ldznet_core.capture import Features, capturing
from ldznet_core.taps import find_taps
from ldznet_core.unet import UNet, UNetConfig
from ldznet_core.unet.diffusers_keys import diffusers_config, to_diffusers

CONFIG = UNetConfig(model_channels=32, channel_mult=(1, 2, 2, 2), context_dim=16, num_heads=4)
ALL_BLOCKS = range(1, 17)


@pytest.fixture(scope="module")
def ours() -> UNet:
    unet = UNet(CONFIG).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in unet.parameters():  # the zero-initialised ones too, else their paths are mute
        scale = 0.3 if parameter.ndim == 1 else 0.06
        parameter.data.normal_(std=scale, generator=generator)
    return unet


@pytest.fixture
def compvis(ours: UNet, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """CompVis' class from PyPI's stable-diffusion-sdkit, with our weights."""
    # It imports omegaconf only to ask whether the context's width came as one of its lists.
    list_config = ModuleType("omegaconf.listconfig")
    list_config.ListConfig = type("ListConfig", (), {})  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "omegaconf", ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.listconfig", list_config)
    module = pytest.importorskip(
        "ldm.modules.diffusionmodules.openaimodel",
        reason="stable-diffusion-sdkit is not installed (pip install --no-deps)",
    )
    unet = module.UNetModel(
        image_size=32,  # unused by the class
        in_channels=CONFIG.in_channels,
        out_channels=CONFIG.out_channels,
        model_channels=CONFIG.model_channels,
        channel_mult=CONFIG.channel_mult,
        num_res_blocks=CONFIG.num_res_blocks,
        attention_resolutions=[1, 2, 4],
        num_heads=CONFIG.num_heads,
        context_dim=CONFIG.context_dim,
        use_spatial_transformer=True,
        legacy=False,
    )
    unet.load_state_dict(ours.state_dict(), strict=True)
    return cast("nn.Module", unet.eval())


@pytest.fixture
def diffusers(ours: UNet) -> nn.Module:
    unet = UNet2DConditionModel(**diffusers_config(CONFIG))
    unet.load_state_dict(to_diffusers(ours.state_dict(), CONFIG), strict=True)
    return cast("nn.Module", unet.eval())


@pytest.mark.parametrize("other", ["compvis", "diffusers"])
def test_outputs_and_features_agree(ours: UNet, other: str, request: pytest.FixtureRequest) -> None:
    expected, expected_features = run(ours)
    predicted, features = run(request.getfixturevalue(other))
    assert expected.std() > 0.1
    # The kernels sum in another order; 1e-4 leaves room for that alone.
    torch.testing.assert_close(predicted, expected, atol=1e-4, rtol=0)
    for block in ALL_BLOCKS:
        difference = features.blocks[block] - expected_features.blocks[block]
        assert difference.abs().max() < 1e-4, f"block {block}"


def run(unet: nn.Module) -> tuple[Tensor, Features]:
    """The prediction for two non-square latents, and the features of every block."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 16, 24, generator=generator)
    context = torch.randn(2, 7, CONFIG.context_dim, generator=generator)
    with torch.no_grad(), capturing(unet, find_taps(unet, ALL_BLOCKS)) as capture:
        output = unet(latents, torch.tensor([3, 500]), context)
    predicted: Tensor = getattr(output, "sample", output)  # diffusers wraps its prediction
    return predicted, capture.features(500, "probe")
