"""Places: the right modules by name in every family, and a sentence for every other model."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from ldznet_core.capture import capturing
from ldznet_core.errors import CaptureError, UnsupportedModelError
from ldznet_core.taps import Tap
from ldznet_core.training_free import LAYERS, Place, TrainingFree, find_places
from ldznet_core.training_free.layers import layers_of
from ldznet_core.training_free.places import attention_of

from .small import CONFIGS, FAMILY_OF, UNETS, WIDTH, count_hooks, noise, run, small_unet

LDM_NAMES = {
    3: "input_blocks.4.1",
    11: "output_blocks.6.1",
    12: "output_blocks.7.1",
    13: "output_blocks.8.1",
}
DIFFUSERS_NAMES = {
    5: "down_blocks.2.attentions.0",
    6: "down_blocks.2.attentions.1",
    **{8 + index: f"up_blocks.1.attentions.{index}" for index in range(3)},
    **{11 + index: f"up_blocks.2.attentions.{index}" for index in range(3)},
}
SDXL_NAMES = {
    3: "down_blocks.2.attentions.0",
    4: "down_blocks.2.attentions.1",
    **{6 + index: f"up_blocks.0.attentions.{index}" for index in range(3)},
    **{9 + index: f"up_blocks.1.attentions.{index}" for index in range(2)},
}
BLOCK_NAMES = {
    "ours": LDM_NAMES,
    "sd1": DIFFUSERS_NAMES,
    "sd2": DIFFUSERS_NAMES,
    "sdxl": SDXL_NAMES,
}


@pytest.mark.parametrize("name", UNETS)
def test_every_place_is_where_the_table_of_its_family_says(name: str) -> None:
    layers, unet = LAYERS[FAMILY_OF[name]], small_unet(name)
    places = find_places(unet, layers)
    inside = f"transformer_blocks.{1 if name == 'sdxl' else 0}"
    expected = {}
    for block, where in BLOCK_NAMES[name].items():
        if block in layers.links:
            expected[Place(block, "links.query")] = f"{where}.{inside}.attn1.to_q"
            expected[Place(block, "links.key")] = f"{where}.{inside}.attn1.to_k"
        if block in layers.words or block in layers.presence_words:
            expected[Place(block, "words.query")] = f"{where}.{inside}.attn2.to_q"
    assert {place: tap.name for place, tap in places.items()} == expected
    assert all(unet.get_submodule(tap.name) is tap.module for tap in places.values())
    assert all(isinstance(tap.module, nn.Linear) and tap.axes == 3 for tap in places.values())


@pytest.mark.parametrize("name", UNETS)
def test_places_stand_in_the_order_of_a_pass(name: str) -> None:
    """So that a pass that ends after the last of them has been through all."""
    unet = small_unet(name)
    places = find_places(unet, LAYERS[FAMILY_OF[name]])
    fired: list[Place] = []
    handles = [
        tap.module.register_forward_hook(lambda *_, place=place: fired.append(place))
        for place, tap in places.items()
    ]
    with torch.no_grad():
        run(unet, noise(1, 4, 8, 8), noise(1, 77, WIDTH))
    for handle in handles:
        handle.remove()
    assert fired == list(places)


@pytest.mark.parametrize("name", UNETS)
def test_the_attention_of_a_place_has_heads_and_keys(name: str) -> None:
    unet, layers = small_unet(name), LAYERS[FAMILY_OF[name]]
    for place, tap in find_places(unet, layers).items():
        attention = attention_of(unet, place, layers)
        assert tap.module in (attention.to_q, attention.to_k)
        expected = 4 if name in ("ours", "sd1") else 8 if place.part == "words.query" else 4
        assert attention.heads == expected


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("size", [(8, 8), (16, 40)])
def test_a_whole_pass_is_bit_identical_with_places_captured(
    name: str, size: tuple[int, int]
) -> None:
    unet = small_unet(name)
    latents, context = noise(1, 4, *size), noise(2, 77, WIDTH)
    with torch.no_grad():
        without = run(unet, latents, context)
        with capturing(unet, find_places(unet, LAYERS[FAMILY_OF[name]])):
            captured = run(unet, latents, context)
    assert torch.equal(without, captured)
    assert count_hooks(unet) == 0


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_no_hook_outlives_an_error_or_an_interrupt(name: str, error: type[BaseException]) -> None:
    unet = small_unet(name)
    places = find_places(unet, LAYERS[FAMILY_OF[name]])

    def fail(*_: object) -> None:
        raise error

    handle = list(places.values())[3].module.register_forward_pre_hook(fail)
    try:
        with pytest.raises(error), capturing(unet, places, stop_after_last=True):
            run(unet, noise(1, 4, 8, 8), noise(1, 77, WIDTH))
    finally:
        handle.remove()
    assert count_hooks(unet) == 0


@pytest.mark.parametrize("name", UNETS)
def test_no_hook_is_left_when_the_pass_ends_early(name: str) -> None:
    unet = small_unet(name)
    went_on: list[Tensor] = []
    with capturing(unet, find_places(unet, LAYERS[FAMILY_OF[name]]), stop_after_last=True):
        went_on.append(run(unet, noise(1, 4, 8, 8), noise(1, 77, WIDTH)))
    assert not went_on
    assert count_hooks(unet) == 0


def test_a_unet_with_fused_projections_is_told_in_a_sentence() -> None:
    """Diffusers can join queries, keys and values in one layer; then ours stay silent."""
    unet = UNet2DConditionModel(cross_attention_dim=WIDTH, **CONFIGS["sd1"]).eval()
    unet.fuse_qkv_projections()
    with (
        pytest.raises(CaptureError, match="stayed silent"),
        torch.no_grad(),
        capturing(unet, find_places(unet, LAYERS["sd1"])),
    ):
        run(unet, noise(1, 4, 8, 8), noise(1, 77, WIDTH))
    assert count_hooks(unet) == 0


@pytest.mark.parametrize(
    ("name", "family", "what"),
    [
        ("sdxl", "sd1", "expected a UNet with 12 spatial transformers, got 11: "),
        ("sdxl", "miniature", "expected a UNet with 12 spatial transformers, got 11: "),
        ("sd1", "sdxl", r"expected 2 transformers in down_blocks\.1\.attentions\.0, got 1: "),
        ("ours", "sdxl", r"expected 2 transformers in input_blocks\.4\.1, got 1: "),
    ],
)
def test_layers_of_another_family_are_refused(name: str, family: str, what: str) -> None:
    with pytest.raises(UnsupportedModelError, match=what):
        find_places(small_unet(name), LAYERS[family])


def sd3() -> nn.Module:
    with torch.device("meta"):
        return cast("nn.Module", SD3Transformer2DModel(num_layers=1))


@pytest.mark.parametrize("model", [sd3(), nn.Linear(1, 1)], ids=["sd3", "linear"])
def test_models_without_spatial_transformers_are_refused(model: nn.Module) -> None:
    with pytest.raises(
        UnsupportedModelError,
        match=rf"of an SD 1\.x, SD 2\.x or SDXL model, with 6 \+ 1 \+ 9 or 4 \+ 1 \+ 6 .*, got "
        f"{type(model).__name__}: ",
    ):
        find_places(model, LAYERS["sd1"])


def test_transformers_without_a_unet_are_told_not_yet() -> None:
    with pytest.raises(
        UnsupportedModelError,
        match=r"as SD3 and Flux, cannot be read yet, so choose a model of SD 1\.x, SD 2\.x or SDXL",
    ):
        find_places(sd3(), LAYERS["sd1"])


@pytest.mark.parametrize("family", ["flux", "sd3", "tiny", ""])
def test_a_family_that_nobody_has_looked_into_is_refused_as_not_yet(family: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"got '{family}': .*cannot be read yet"):
        layers_of(family)
    with pytest.raises(UnsupportedModelError, match=f"got '{family}': .*cannot be read yet"):
        TrainingFree().for_family(family)


def test_errors_name_a_place_in_words() -> None:
    tap = Tap("somewhere", nn.Linear(1, 1), axes=3)
    module = nn.Module()
    module.add_module("somewhere", tap.module)
    with (
        pytest.raises(CaptureError, match=r"tap links\.key of block 9 \(somewhere\)"),
        capturing(module, {Place(9, "links.key"): tap}),
    ):
        pass
