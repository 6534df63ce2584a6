"""The UNet: its published sizes and names, what it infers, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from ldznet_core.errors import CheckpointError, InputError, UnsupportedModelError
from ldznet_core.unet import (
    SpatialTransformer,
    UNet,
    UNetConfig,
    infer_unet_config,
    timestep_embedding,
)
from ldznet_core.unet.diffusers_keys import from_diffusers, to_diffusers

SMALL = UNetConfig(model_channels=32, channel_mult=(1, 1, 2, 2), context_dim=16, num_heads=4)
SHALLOW = UNetConfig(
    in_channels=9,
    out_channels=1,
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    transformer_levels=1,
    context_dim=24,
)


def shapes_only(config: UNetConfig) -> UNet:
    with torch.device("meta"):
        return UNet(config)


def test_timesteps_may_lie_on_another_device() -> None:
    """As a scheduler's do, which are on the CPU wherever the UNet is."""
    unet = shapes_only(SMALL)
    latents, context = torch.zeros(1, 4, 8, 8, device="meta"), torch.zeros(1, 7, 16, device="meta")
    assert unet(latents, torch.tensor([400]), context).device.type == "meta"


def test_the_default_is_stable_diffusion_1() -> None:
    state_dict = shapes_only(UNetConfig()).state_dict()
    # Counted in the UNet that the official LD-ZNet freezes (koutilya-pnvr/LD-ZNet@3d28f76).
    assert len(state_dict) == 686
    assert sum(tensor.numel() for tensor in state_dict.values()) == 859_520_964
    key = "output_blocks.5.1.transformer_blocks.0.attn2.to_k.weight"
    assert state_dict[key].shape == (1280, 768)
    assert state_dict["output_blocks.5.2.conv.weight"].shape == (1280, 1280, 3, 3)
    assert state_dict["input_blocks.6.0.op.weight"].shape == (640, 640, 3, 3)


@pytest.mark.parametrize("config", [UNetConfig(), SMALL, SHALLOW], ids=["sd1", "small", "shallow"])
def test_sizes_are_inferred_from_the_weights(config: UNetConfig) -> None:
    state_dict = shapes_only(config).state_dict()
    assert infer_unet_config(state_dict, num_heads=config.num_heads) == config


def test_weights_under_a_prefix_are_refused_with_the_missing_name() -> None:
    state_dict = {
        f"model.diffusion_model.{key}": tensor
        for key, tensor in shapes_only(SMALL).state_dict().items()
    }
    with pytest.raises(CheckpointError, match=r"middle_block\.1\.proj_in\.weight is missing"):
        infer_unet_config(state_dict)


def test_weights_of_sdxl_are_refused() -> None:
    state_dict = shapes_only(SMALL).state_dict() | {"label_emb.0.0.weight": torch.zeros(4, 4)}
    with pytest.raises(UnsupportedModelError, match="SDXL"):
        infer_unet_config(state_dict)


def test_weights_of_sd2_are_refused() -> None:
    state_dict = shapes_only(SMALL).state_dict()
    state_dict["middle_block.1.proj_in.weight"] = torch.zeros(64, 64)
    with pytest.raises(UnsupportedModelError, match=r"SD 2\.x"):
        infer_unet_config(state_dict)


def test_a_fresh_unet_predicts_nothing() -> None:
    predicted = UNet(SMALL)(torch.randn(2, 4, 8, 16), torch.tensor([7]), torch.randn(2, 5, 16))
    assert torch.equal(predicted, torch.zeros(2, 4, 8, 16))


@pytest.mark.parametrize("sides", [(12, 16), (16, 9)])
def test_sides_off_the_stride_are_refused(sides: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"multiples of 8, got {sides[0]}x{sides[1]}"):
        UNet(SMALL)(torch.randn(1, 4, *sides), torch.tensor([7]), torch.randn(1, 5, 16))


def test_transformers_are_numbered_as_in_the_paper_and_read_the_features() -> None:
    seen: dict[int, Mapping[int, Tensor] | None] = {}

    class Reader(SpatialTransformer):
        def __init__(self, block: int, channels: int, config: UNetConfig) -> None:
            super().__init__(channels, config.context_dim, config.num_heads)
            self.block = block

        def forward(
            self, x: Tensor, context: Tensor, features: Mapping[int, Tensor] | None = None
        ) -> Tensor:
            seen[self.block] = features
            return x

    unet = UNet(SMALL, Reader)
    features = {6: torch.zeros(1)}
    unet(torch.randn(1, 4, 8, 8), torch.tensor([0]), torch.randn(1, 5, 16), features)
    assert list(seen) == list(range(1, 17))
    assert all(given is features for given in seen.values())
    assert unet.get_submodule("input_blocks.8.1").block == 6
    assert unet.get_submodule("middle_block.1").block == 7
    assert unet.get_submodule("output_blocks.5.1").block == 10


def test_the_timestep_embedding_puts_cosines_first() -> None:
    embedded = timestep_embedding(torch.tensor([0, 1]), 4)
    # The frequencies are 1 and 10000 ** -0.5.
    expected = torch.tensor([[1, 1, 0, 0], [0.540302, 0.99995, 0.841471, 0.0099998]])
    torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", [UNetConfig(), SHALLOW], ids=["sd1", "shallow"])
def test_renaming_for_diffusers_can_be_undone(config: UNetConfig) -> None:
    state_dict = shapes_only(config).state_dict()
    renamed = to_diffusers(state_dict, config)
    assert len(renamed) == len(state_dict)
    assert from_diffusers(renamed, config).keys() == state_dict.keys()


def test_a_key_that_no_module_holds_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"holds label_emb\.0\.0\.weight"):
        to_diffusers({"label_emb.0.0.weight": torch.zeros(1)}, SMALL)
