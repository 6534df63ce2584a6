"""Capture: what is kept is right, what flows is untouched, and no hook is ever left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ldznet_core.capture import EARLY, LATE, Features, aim_of, capturing
from ldznet_core.errors import CaptureError, InputError
from ldznet_core.taps import Tap, Taps, find_taps
from ldznet_core.unet import UNet, UNetConfig, timestep_embedding

CONFIG = UNetConfig(model_channels=32, channel_mult=(1, 1, 1, 1), context_dim=16, num_heads=4)


@pytest.fixture(scope="module")
def shared_unet() -> UNet:
    unet = UNet(CONFIG)
    generator = torch.Generator().manual_seed(0)
    for parameter in unet.parameters():
        parameter.data.normal_(std=0.1, generator=generator)
    return unet


@pytest.fixture
def unet(shared_unet: UNet) -> Iterator[UNet]:
    """A small UNet, on which no test may leave a hook."""
    yield shared_unet
    assert count_hooks(shared_unet) == 0


@pytest.fixture
def taps(unet: UNet) -> Taps:
    return find_taps(unet)


def run(unet: nn.Module, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    latents = torch.randn(rows, 4, 16, 24, generator=generator)
    context = torch.randn(rows, 5, CONFIG.context_dim, generator=generator)
    predicted: Tensor = unet(latents, torch.tensor([400]), context)
    return predicted


def run_twice(unet: nn.Module) -> None:
    run(unet)
    run(unet)


def count_hooks(unet: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in unet.modules()
    )


class TestWhatIsKept:
    def test_the_values_are_those_right_after_the_transformers(
        self, unet: UNet, taps: Taps
    ) -> None:
        """Applying what follows in the stage by hand gives what the whole stage gave."""
        stages: dict[str, Tensor] = {}
        names = ["input_blocks.8", "middle_block", "output_blocks.3", "output_blocks.5"]
        handles = [
            unet.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: stages.update({name: output})
            )
            for name in names
        ]
        with torch.no_grad(), capturing(unet, taps) as capture:
            run(unet)
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            sinusoids = timestep_embedding(torch.tensor([400]), CONFIG.model_channels)
            embedding = unet.time_embed(sinusoids)
            middle = unet.middle_block[2](capture[7], embedding)
            upsampled = unet.get_submodule("output_blocks.5.2")(capture[10])
        assert torch.equal(capture[6], stages["input_blocks.8"])
        assert torch.equal(middle, stages["middle_block"])
        assert torch.equal(capture[8], stages["output_blocks.3"])
        assert torch.equal(upsampled, stages["output_blocks.5"])

    def test_features_carry_the_blocks_the_timestep_and_the_source(
        self, unet: UNet, taps: Taps
    ) -> None:
        with capturing(unet, taps) as capture:
            run(unet)
        features = capture.features(400, "probe")
        assert list(features.blocks) == [6, 7, 8, 9, 10] == list(capture.blocks)
        assert [tuple(features.blocks[block].shape) for block in (6, 7)] == [
            (1, 32, 4, 6),
            (1, 32, 2, 3),
        ]
        assert (features.timestep, features.source) == (400.0, "probe")

    def test_rows_pick_a_part_of_the_batch(self, unet: UNet, taps: Taps) -> None:
        with capturing(unet, taps) as capture:
            run(unet, rows=4)
        second_half = capture.features(400, "sampling", rows=slice(2, None))
        assert all(torch.equal(second_half.blocks[b], capture[b][2:]) for b in capture)

    def test_copies_are_kept_that_later_writes_do_not_reach(self, unet: UNet, taps: Taps) -> None:
        with torch.no_grad(), capturing(unet, taps) as capture:
            handle = taps[10].module.register_forward_hook(
                lambda _module, _inputs, output: output.zero_()
            )
            run(unet)
        handle.remove()
        assert capture[10].abs().min() > 0

    def test_copies_are_cut_off_from_autograd_while_the_pass_is_not(
        self, unet: UNet, taps: Taps
    ) -> None:
        with capturing(unet, taps) as capture:
            predicted = run(unet)
        assert predicted.requires_grad
        assert not any(tensor.requires_grad for tensor in capture.values())

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda x: (x,),
            lambda x: SimpleNamespace(sample=x),
            lambda x: (SimpleNamespace(sample=x),),
        ],
        ids=["tuple", "sample", "both"],
    )
    def test_wrapped_outputs_are_unwrapped(self, wrap: Callable[[Tensor], object]) -> None:
        unet, taps = one_tap(wrap)
        with capturing(unet, taps) as capture:
            unet(torch.ones(1, 2, 3, 4))
        assert torch.equal(capture[6], torch.ones(1, 2, 3, 4))

    def test_features_are_frozen(self) -> None:
        features = Features({}, 400.0, "probe")
        with pytest.raises(FrozenInstanceError):
            features.timestep = 0.0  # type: ignore[misc]  # the point of the test


class TestWhatFlows:
    @pytest.mark.parametrize("blocks", [(6, 7, 8, 9, 10), range(1, 17)], ids=["head", "all"])
    def test_the_prediction_is_bit_identical(self, unet: UNet, blocks: tuple[int, ...]) -> None:
        without = run(unet)
        with capturing(unet, find_taps(unet, blocks)):
            during = run(unet)
        assert torch.equal(during, without)
        assert torch.equal(run(unet), without)

    def test_two_captures_do_not_disturb_each_other(self, unet: UNet, taps: Taps) -> None:
        with capturing(unet, taps) as outer, capturing(unet, find_taps(unet, (9,))) as inner:
            run(unet)
        assert torch.equal(outer[9], inner[9])
        assert count_hooks(unet) == 0


class TestEarlyStop:
    def test_the_features_are_those_of_a_whole_pass(self, unet: UNet, taps: Taps) -> None:
        with capturing(unet, taps) as whole:
            run(unet)
        with capturing(unet, taps, stop_after_last=True) as stopped:
            run(unet)
        assert all(torch.equal(stopped[block], whole[block]) for block in taps)
        assert count_hooks(unet) == 0

    def test_nothing_after_the_last_tap_runs(self, unet: UNet, taps: Taps) -> None:
        ran: list[str] = []
        handles = [
            unet.get_submodule(name).register_forward_hook(
                lambda *_args, name=name: ran.append(name)
            )
            for name in ("output_blocks.4", "output_blocks.5.2", "output_blocks.6", "out")
        ]
        with capturing(unet, taps, stop_after_last=True):
            run(unet)
            ran.append("the rest of the block")
        for handle in handles:
            handle.remove()
        assert ran == ["output_blocks.4"]

    def test_a_host_that_handles_exceptions_does_not_swallow_it(
        self, unet: UNet, taps: Taps
    ) -> None:
        with capturing(unet, taps, stop_after_last=True):
            try:
                run(unet)
            except Exception:
                pytest.fail("the host took the stop for a failure")

    def test_an_inner_stop_leaves_the_outer_block_running(self, unet: UNet, taps: Taps) -> None:
        with capturing(unet, taps) as outer:
            with capturing(unet, taps, stop_after_last=True):
                run(unet)
            reached = True
        assert reached
        assert set(outer) == set(taps)

    def test_an_outer_stop_goes_through_the_inner_block(self, unet: UNet, taps: Taps) -> None:
        with (
            capturing(unet, taps, stop_after_last=True) as outer,
            capturing(unet, find_taps(unet, (16,)), stop_after_last=True) as inner,
        ):
            run(unet)
        assert set(outer) == set(taps)
        assert not inner
        assert count_hooks(unet) == 0


class TestPassesThatDoNotFit:
    def test_a_tap_that_never_fires_is_named(self, unet: UNet, taps: Taps) -> None:
        with (
            pytest.raises(CaptureError, match=r"tap 6 \(input_blocks\.8\.1\).*stayed silent"),
            capturing(unet, taps),
        ):
            pass
        assert count_hooks(unet) == 0

    def test_a_single_silent_tap_is_named(
        self, unet: UNet, taps: Taps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As where another pack leaves a transformer out of the pass."""
        stage = unet.get_submodule("output_blocks.4")
        res_block = stage.get_submodule("0")
        monkeypatch.setattr(stage, "forward", lambda x, embedding, *_: res_block(x, embedding))
        message = r"tap 9 \(output_blocks\.4\.1\), but it stayed silent"
        with pytest.raises(CaptureError, match=message), capturing(unet, taps):
            run(unet)

    def test_two_passes_in_one_block_are_named(self, unet: UNet, taps: Taps) -> None:
        with (
            pytest.raises(CaptureError, match=r"tap 6 \(input_blocks\.8\.1\).*fired 2 times"),
            capturing(unet, taps),
        ):
            run_twice(unet)
        assert count_hooks(unet) == 0

    def test_features_of_two_passes_are_refused_within_the_block_too(
        self, unet: UNet, taps: Taps
    ) -> None:
        with suppress(CaptureError), capturing(unet, taps) as capture:
            run_twice(unet)
            with pytest.raises(CaptureError, match="fired 2 times"):
                capture.features(400, "sampling")

    @pytest.mark.parametrize("output", [None, "text", torch.zeros(1, 2, 3)])
    def test_an_output_that_is_no_feature_map_is_named(self, output: object) -> None:
        unet, taps = one_tap(lambda _x: output)
        with (
            pytest.raises(CaptureError, match=r"feature map \(B, C, h, w\) from tap 6 \(tap\)"),
            capturing(unet, taps),
        ):
            unet(torch.ones(1, 2, 3, 4))

    def test_the_next_block_works_after_an_error(self, unet: UNet, taps: Taps) -> None:
        with pytest.raises(CaptureError), capturing(unet, taps):
            pass
        with capturing(unet, taps) as capture:
            run(unet)
        assert set(capture) == set(taps)

    def test_taps_of_another_unet_are_refused(self, unet: UNet) -> None:
        with torch.device("meta"):
            other = UNet(CONFIG)
        with (
            pytest.raises(InputError, match=r"tap 6 \(input_blocks\.8\.1\) is of another"),
            capturing(unet, find_taps(other)),
        ):
            pytest.fail("the block ran")


class TestNoHookIsLeft:
    @pytest.mark.parametrize("error", [ValueError("theirs"), KeyboardInterrupt(), SystemExit(3)])
    def test_the_block_s_own_error_goes_through_unchanged(
        self, unet: UNet, taps: Taps, error: BaseException
    ) -> None:
        with pytest.raises(type(error)) as raised, capturing(unet, taps):
            raise error
        assert raised.value is error
        assert count_hooks(unet) == 0

    @pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
    def test_an_error_inside_the_model_goes_through_unchanged(
        self, unet: UNet, taps: Taps, error: BaseException
    ) -> None:
        def fail(*_args: object) -> None:
            raise error

        handle = unet.get_submodule("output_blocks.4.1").register_forward_pre_hook(fail)
        with pytest.raises(type(error)) as raised, capturing(unet, taps):
            run(unet)
        handle.remove()
        assert raised.value is error
        assert count_hooks(unet) == 0

    def test_hooks_go_when_a_later_one_cannot_be_set(
        self, unet: UNet, taps: Taps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_args: object, **_kwargs: object) -> None:
            raise RuntimeError("no more hooks")

        monkeypatch.setattr(taps[9].module, "register_forward_hook", refuse)
        with pytest.raises(RuntimeError, match="no more hooks"), capturing(unet, taps):
            pytest.fail("the block ran")
        assert count_hooks(unet) == 0

    def test_the_hooks_of_others_stay(self, unet: UNet, taps: Taps) -> None:
        handle = taps[6].module.register_forward_hook(lambda *_args: None)
        with capturing(unet, taps):
            run(unet)
        assert count_hooks(unet) == 1
        handle.remove()


class TestAim:
    @pytest.mark.parametrize(
        ("timesteps", "early", "late"),
        [
            ((999, 473, 421, 368, 315, 263, 158, 53), 421, 53),
            ((749, 499, 249), 499, 249),
            ((300, 0), 300, 0),
            ((250,), None, 250),
            ((999, 501), None, None),
            ((), None, None),
        ],
    )
    def test_of_what_was_captured_the_best_that_will_do_is_read(
        self, timesteps: tuple[float, ...], early: float | None, late: float | None
    ) -> None:
        captured = [Features({}, timestep, "sampling") for timestep in timesteps]
        found = [aim.nearest(captured) for aim in (EARLY, LATE)]
        assert [each and each.timestep for each in found] == [early, late]

    @pytest.mark.parametrize(("timestep", "aim"), [(400, EARLY), (300, EARLY), (100, LATE)])
    def test_a_head_wants_to_see_what_its_probes_see(self, timestep: float, aim: object) -> None:
        assert aim_of(timestep) == aim


def one_tap(forward: Callable[[Tensor], object]) -> tuple[nn.Module, Taps]:
    """A module with one tap, which gives what the function makes of its input."""

    class Tapped(nn.Module):
        def forward(self, x: Tensor) -> object:
            return forward(x)

    unet = nn.Sequential()
    unet.add_module("tap", Tapped())
    return unet, {6: Tap("tap", unet.get_submodule("tap"))}
