"""Features heard while a host samples."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ldznet_core import Features, capturing, find_taps
from ldznet_core.capture import EARLY, LATE, Aim, Missing
from ldznet_core.taps import TapsOf
from ldznet_core.training_free import TrainingFree
from ldznet_core.unet import UNet
from ldznet_webui.listening import Listening, Wanted
from ldznet_webui.passes import rows_in_order

from .generating import SIZE, hooks_on

PROMPTS = [1]
PLACES = TrainingFree().for_family("miniature").taps_of
"""Where attention is read."""


@pytest.fixture
def unet(miniature: Any) -> Iterator[UNet]:
    yield miniature.unet
    assert hooks_on(miniature.unet) == 0


def noisy(pictures: int = 1) -> Tensor:
    return torch.randn(pictures, 4, *SIZE, generator=torch.Generator().manual_seed(5))


def listening_to(
    unet: nn.Module, pictures: int = 1, taps_of: TapsOf = find_taps, aim: Aim = EARLY
) -> Listening:
    listening = Listening(
        lambda prompts: partial(rows_in_order, prompts=prompts),
        pictures,
        SIZE,
        Wanted(taps_of, aim),
    )
    listening.start(unet)
    return listening


@torch.no_grad()
def run(unet: nn.Module, x: Tensor, timestep: float, **named: Any) -> Tensor:
    context = torch.linspace(-1, 1, len(x) * 77 * 128).reshape(len(x), 77, 128)
    output: Tensor = unet(x, torch.full((len(x),), timestep), context, **named)
    return output


def one_step(unet: nn.Module, listening: Listening, timestep: float, pictures: int = 1) -> Tensor:
    """A denoiser step of one pass: prompts first, then negative prompts."""
    listening.begin_step([1] * pictures)
    return run(unet, torch.cat([noisy(pictures)] * 2), timestep)


def heard(listening: Listening, picture: int = 0) -> Features:
    found = listening.features_of(picture)
    assert isinstance(found, Features), found
    return found


def why(listening: Listening, picture: int = 0) -> str:
    found = listening.features_of(picture)
    assert isinstance(found, Missing)
    return found.reason


def test_the_pass_stays_the_same_to_the_bit(unet: UNet) -> None:
    plain = run(unet, torch.cat([noisy()] * 2), 400.0)
    listening = listening_to(unet)
    listened = one_step(unet, listening, 400.0)
    listening.stop()
    assert torch.equal(listened, plain)


def test_the_prompts_row_is_kept_as_a_capture_by_hand_has_it(unet: UNet) -> None:
    with capturing(unet, find_taps(unet)) as capture:
        run(unet, torch.cat([noisy(2)] * 2), 410.0)
    listening = listening_to(unet, pictures=2)
    one_step(unet, listening, 410.0, pictures=2)
    listening.stop()
    for picture in (0, 1):
        found = heard(listening, picture)
        assert (found.timestep, found.source) == (410.0, "sampling")
        for block, rows in capture.items():
            assert torch.equal(found.blocks[block], rows[picture : picture + 1])


def test_of_several_passes_the_one_nearest_to_400_is_kept(unet: UNet) -> None:
    listening = listening_to(unet)
    for timestep in (473.2, 420.6, 368.1, 379.5, 310.0):
        one_step(unet, listening, timestep)
    listening.stop()
    assert heard(listening).timestep == pytest.approx(379.5)


def test_a_step_may_take_two_passes(unet: UNet) -> None:
    """As when a prompt is longer than the negative one."""
    listening = listening_to(unet)
    listening.begin_step(PROMPTS)
    run(unet, noisy(), 400.0)
    first = heard(listening)
    run(unet, noisy() + 1, 400.0)
    listening.stop()
    assert heard(listening) is first


def test_pictures_may_lie_in_two_passes(unet: UNet) -> None:
    listening = listening_to(unet, pictures=2)
    listening.begin_step([1, 1])
    run(unet, noisy(2)[:1], 400.0)
    run(unet, noisy(2)[1:], 400.0)
    listening.stop()
    one, other = heard(listening, 0), heard(listening, 1)
    assert not torch.equal(one.blocks[8], other.blocks[8])


def test_passes_outside_the_window_leave_nothing_but_a_reason(unet: UNet) -> None:
    listening = listening_to(unet)
    for timestep in (999.0, 280.5):
        one_step(unet, listening, timestep)
    listening.stop()
    assert why(listening) == (
        "sampling made no pass at a timestep from 300 to 500 (it made 999, 280)"
    )


def test_a_run_without_passes_says_so(unet: UNet) -> None:
    listening = listening_to(unet)
    listening.stop()
    assert why(listening) == "sampling made no pass of this UNet"


def test_passes_that_are_not_of_the_sampler_are_not_heard(unet: UNet) -> None:
    listening = listening_to(unet)
    run(unet, noisy(), 400.0)  # before any step
    listening.begin_step(PROMPTS)
    run(unet, torch.zeros(2, 4, 8, 24), 400.0)  # of a tile
    listening.stop()
    assert "no pass in the window was of the prompt" in why(listening)


def test_a_pass_that_fails_leaves_no_hook_and_no_features(unet: UNet) -> None:
    def fail(module: nn.Module, inputs: object) -> None:
        raise RuntimeError("out of memory")

    listening = listening_to(unet)
    listening.begin_step(PROMPTS)
    failing = unet.output_blocks[4].register_forward_pre_hook(fail)
    with failing, pytest.raises(RuntimeError, match="out of memory"):
        run(unet, torch.cat([noisy()] * 2), 400.0)
    assert hooks_on(unet) == 2  # the two of the listening; the pass has none
    listening.stop()
    assert "listening failed" in why(listening)


def test_a_failure_in_a_hook_costs_the_features_and_not_the_pass(unet: UNet) -> None:
    plain = run(unet, torch.cat([noisy()] * 2), 400.0)
    listening = Listening(
        lambda step: lambda passed: step["nothing"], 1, SIZE, Wanted(find_taps, EARLY)
    )
    listening.start(unet)
    assert torch.equal(one_step(unet, listening, 400.0), plain)
    listening.stop()
    assert why(listening) == (
        "listening failed while sampling "
        "(TypeError: list indices must be integers or slices, not str)"
    )


def test_another_unet_may_take_over_midway(unet: UNet, miniature: Any) -> None:
    """As a refiner does."""
    other = UNet(unet.config).eval()
    listening = listening_to(unet)
    one_step(unet, listening, 440.0)
    listening.start(other)
    assert hooks_on(unet) == 0
    one_step(other, listening, 390.0)
    listening.stop()
    assert hooks_on(other) == 0
    assert heard(listening).timestep == 390.0


def test_what_is_kept_is_small_and_of_its_own(unet: UNet) -> None:
    listening = listening_to(unet, pictures=2)
    one_step(unet, listening, 400.0, pictures=2)
    listening.stop()
    for block in heard(listening).blocks.values():
        assert block.untyped_storage().nbytes() == block.numel() * block.element_size()
        assert not block.requires_grad


class TestAttention:
    """Heard in the place of feature maps, for masks without a trained head."""

    def test_the_pass_stays_the_same_to_the_bit(self, unet: UNet) -> None:
        plain = run(unet, torch.cat([noisy()] * 2), 400.0)
        listening = listening_to(unet, taps_of=PLACES)
        listened = one_step(unet, listening, 400.0)
        listening.stop()
        assert torch.equal(listened, plain)

    def test_each_picture_has_its_row_of_every_place_and_nothing_else(self, unet: UNet) -> None:
        with capturing(unet, PLACES(unet)) as capture:
            run(unet, torch.cat([noisy(2)] * 2), 410.0)
        listening = listening_to(unet, pictures=2, taps_of=PLACES)
        one_step(unet, listening, 410.0, pictures=2)
        listening.stop()
        for picture in (0, 1):
            found = heard(listening, picture)
            assert found.blocks.keys() == PLACES(unet).keys()
            for place, rows in capture.items():
                assert torch.equal(found.blocks[place], rows[picture : picture + 1].half())

    @pytest.mark.parametrize(("aim", "best"), [(EARLY, 379.5), (LATE, 120.0)])
    def test_the_pass_that_suits_the_head_best_is_kept(
        self, unet: UNet, aim: Aim, best: float
    ) -> None:
        listening = listening_to(unet, taps_of=PLACES, aim=aim)
        for timestep in (999.0, 473.2, 379.5, 310.0, 250.0, 120.0, 40.0):
            one_step(unet, listening, timestep)
        listening.stop()
        assert heard(listening).timestep == pytest.approx(best)

    def test_which_passes_would_have_suited_it_is_told(self, unet: UNet) -> None:
        listening = listening_to(unet, taps_of=PLACES, aim=LATE)
        one_step(unet, listening, 400.0)
        listening.stop()
        found = listening.features_of(0)
        assert isinstance(found, Missing)
        assert found.reason == "sampling made no pass at a timestep from 0 to 300 (it made 400)"

    def test_another_unet_may_take_over_midway(self, unet: UNet) -> None:
        other = UNet(unet.config).eval()
        listening = listening_to(unet, taps_of=PLACES)
        one_step(unet, listening, 440.0)
        listening.start(other)
        assert hooks_on(unet) == 0
        one_step(other, listening, 390.0)
        listening.stop()
        assert hooks_on(other) == 0
        assert heard(listening).timestep == 390.0

    def test_what_is_kept_of_a_picture_takes_two_bytes_a_number(self, unet: UNet) -> None:
        with capturing(unet, PLACES(unet)) as capture:
            run(unet, noisy(), 400.0)
        listening = listening_to(unet, pictures=2, taps_of=PLACES)
        one_step(unet, listening, 400.0, pictures=2)
        listening.stop()
        kept = [each.untyped_storage().nbytes() for each in heard(listening).blocks.values()]
        assert sum(kept) == 2 * sum(each.numel() for each in capture.values())

    def test_of_sdxl_at_1024_pixels_64_mebibytes_are_enough(self) -> None:
        """Counted on one with a tenth of the channels, at 256 pixels."""
        diffusers: Any = pytest.importorskip("diffusers", reason="has a UNet of SDXL's layout")
        small = diffusers.UNet2DConditionModel(
            block_out_channels=[32, 64, 128],
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            transformer_layers_per_block=[1, 2, 2],
            attention_head_dim=[2, 4, 8],
            cross_attention_dim=128,
            use_linear_projection=True,
        ).eval()
        places = Wanted(TrainingFree().for_family("sdxl").taps_of, EARLY)
        listening = Listening(lambda step: lambda passed: [0], 1, (32, 32), places)
        listening.start(small)
        listening.begin_step(PROMPTS)
        run(small, torch.zeros(2, 4, 32, 32), 400.0)
        listening.stop()
        kept = [each.untyped_storage().nbytes() for each in heard(listening).blocks.values()]
        assert sum(kept) * (320 // 32) * (1024 // 256) ** 2 <= 64 * 2**20

    def test_attention_in_tiles_is_no_attention_of_the_picture(
        self, unet: UNet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As A1111's Hypertile cuts it (extensions-builtin/hypertile/hypertile.py in 1.10.1)."""
        attention: Any = unet.get_submodule("output_blocks.7.1.transformer_blocks.0.attn1")
        whole = attention.forward

        def in_tiles(x: Tensor, *rest: Any) -> Tensor:
            tiles: Tensor = whole(x.reshape(4 * len(x), -1, x.shape[-1]), *rest)
            return tiles.reshape(x.shape)

        monkeypatch.setattr(attention, "forward", in_tiles)
        listening = listening_to(unet, taps_of=PLACES)
        one_step(unet, listening, 400.0)
        listening.stop()
        assert "turn off what cuts pictures into tiles" in why(listening)
