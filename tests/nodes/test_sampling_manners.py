"""What listening leaves behind, and what it does not disturb: pictures, other runs, compilers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..core.tiny import randomise
from .loading import Pack
from .studio import (
    NEAREST,
    PLACES,
    SCHEDULE,
    Euler,
    assert_same_features,
    features_by_hand,
    guider,
    hooks_of,
    prompt,
    reason,
    run,
    seen_at,
    tiny_model,
)


class TestManners:
    @pytest.mark.parametrize("pictures", [1, 2])
    def test_the_picture_is_the_same_bit_for_bit(
        self, heard: Any, plain: Any, pictures: int
    ) -> None:
        with_capture = run(guider(heard), SCHEDULE, pictures=pictures)
        assert torch.equal(with_capture, run(guider(plain), SCHEDULE, pictures=pictures))

    def test_the_model_that_was_given_stays_without_wrappers(self, heard: Any, plain: Any) -> None:
        assert plain.wrappers == {}
        assert heard.model is plain.model

    def test_capture_upon_capture_listens_once(self, pack: Pack, heard: Any, bank: Any) -> None:
        twice = pack.module("nodes.sampling").with_capture(heard, bank)
        assert {place: len(by_key) for place, by_key in twice.wrappers.items()} == {
            "outer_sample": 1,
            "apply_model": 1,
        }
        assert all(len(by_key["ldznet"]) == 1 for by_key in twice.wrappers.values())

    def test_other_wrappers_stay(self, pack: Pack, plain: Any, bank: Any) -> None:
        sampling = pack.module("nodes.sampling")
        other = plain.clone()
        other.add_wrapper_with_key("apply_model", "theirs", lambda executor, *args: executor(*args))
        quiet = sampling.without_capture(sampling.with_capture(other, bank))
        assert [list(by_key) for by_key in quiet.wrappers.values() if by_key] == [["theirs"]]

    def test_a_clone_made_downstream_is_listened_to(self, heard: Any, bank: Any) -> None:
        """As LoRA loaders make one."""
        assert bank.get(run(guider(heard.clone()), SCHEDULE)).timestep == NEAREST

    def test_no_hook_is_left_after_a_run(self, heard: Any, unet: nn.Module) -> None:
        run(guider(heard), SCHEDULE)
        assert hooks_of(unet) == 0

    def test_hooks_are_there_only_within_the_passes_that_count(
        self, heard: Any, unet: nn.Module
    ) -> None:
        # before and within each step; 350 is farther from 400 than 410
        assert hooks_in_a_run(heard, unet) == [1, 0, 1, 5, 1, 0]

    def test_a_second_capture_listens_where_either_does_and_once_at_each_place(
        self, pack: Pack, heard: Any, bank: Any, unet: nn.Module
    ) -> None:
        core = pack.module("ldznet_core")
        twice = pack.module("nodes.sampling").with_capture(
            heard, bank, lambda unet: core.find_taps(unet, (10, 15))
        )
        assert hooks_in_a_run(twice, unet) == [1, 0, 1, 6, 1, 0]
        assert set(bank.get(run(guider(twice), SCHEDULE)).blocks) == {*PLACES, 15}
        assert hooks_in_a_run(heard, unet) == [1, 0, 1, 5, 1, 0]  # the first is as it was

    def test_wrappers_are_copied_deeply_as_functions_are(self, heard: Any) -> None:
        """Packs copy a MODEL's options so, and there is one bank."""
        assert copy.deepcopy(heard.wrappers) == heard.wrappers

    def test_an_error_in_the_unet_goes_through_and_leaves_nothing(
        self, heard: Any, bank: Any, unet: nn.Module
    ) -> None:
        def fail(module: nn.Module, inputs: Any) -> None:
            if hooks_of(unet) > 1:
                raise RuntimeError("out of memory")

        failing = unet.output_blocks[4].register_forward_pre_hook(fail)
        try:
            with pytest.raises(RuntimeError, match="out of memory"):
                run(guider(heard), SCHEDULE)
            assert hooks_of(unet) == 1
        finally:
            failing.remove()
        assert len(bank) == 0

    def test_an_interruption_of_the_sampler_leaves_nothing(
        self, heard: Any, bank: Any, unet: nn.Module
    ) -> None:
        from comfy import model_management

        def interrupt(step: int) -> None:
            if step == 2:
                model_management.interrupt_current_processing()
            model_management.throw_exception_if_processing_interrupted()

        with pytest.raises(model_management.InterruptProcessingException):
            run(guider(heard), SCHEDULE, sampler=Euler(interrupt))
        assert hooks_of(unet) == 0
        assert len(bank) == 0

    def test_the_run_after_a_failure_is_as_if_there_had_been_none(
        self, heard: Any, bank: Any
    ) -> None:
        def fail(step: int) -> None:
            if step == 2:
                raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"):
            run(guider(heard), SCHEDULE, sampler=Euler(fail), seed=1)
        sampler = Euler()
        found = bank.get(run(guider(heard), SCHEDULE, sampler=sampler))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)

    def test_a_pass_that_the_host_makes_twice_costs_the_features_not_the_picture(
        self, pack: Pack, heard: Any, bank: Any, plain: Any
    ) -> None:
        def twice(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
            executor(*args, **kwargs)
            return executor(*args, **kwargs)

        heard.add_wrapper_with_key("apply_model", "theirs", twice)
        sampled = run(guider(heard), SCHEDULE)
        assert "fired 2 times" in reason(pack, bank.get(sampled))
        assert torch.equal(sampled, run(guider(plain), SCHEDULE))

    def test_want_of_memory_for_features_costs_the_features_not_the_picture(
        self, pack: Pack, heard: Any, bank: Any, plain: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = run(guider(plain), SCHEDULE)

        captures = pack.module("ldznet_core.capture").Capture
        record = captures.record

        def full(self: Tensor) -> Tensor:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        def record_without_memory(self: Any, block: Any, output: object) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(Tensor, "clone", full)
                record(self, block, output)

        monkeypatch.setattr(captures, "record", record_without_memory)
        sampled = run(guider(heard), SCHEDULE)
        assert torch.equal(sampled, expected)
        assert "expected memory for copies of features" in reason(pack, bank.get(sampled))


class TestRunsWithinAndAfterRuns:
    def test_a_run_within_a_run_has_features_of_its_own(self, heard: Any, bank: Any) -> None:
        """Some samplers refine a part of the picture by a sampler of their own."""
        inner, sampled_inside = Euler(), []

        def sample_inside(step: int) -> None:
            if step == 2:  # when the outer run has its features
                dog = guider(heard, prompt("a dog"))
                sampled_inside.append(run(dog, (450, 390), sampler=inner, size=(8, 8), seed=5))

        outer = Euler(sample_inside)
        found = bank.get(run(guider(heard), SCHEDULE, sampler=outer))
        expected = features_by_hand(heard, seen_at(outer, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)
        found = bank.get(sampled_inside[0])
        expected = features_by_hand(heard, inner.seen[1], 390, "a dog")
        assert_same_features(found, expected)

    def test_a_run_goes_on_listening_after_one_within_it(self, heard: Any, bank: Any) -> None:
        def sample_inside(step: int) -> None:
            if step == 1:
                run(guider(heard, prompt("a dog")), (450, 390), seed=5)

        outer = Euler(sample_inside)
        found = bank.get(run(guider(heard), SCHEDULE, sampler=outer))
        expected = features_by_hand(heard, seen_at(outer, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)

    def test_a_pass_of_another_model_is_none_of_the_run(
        self, heard: Any, bank: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Both are listened to; the other's passes come while the first one's run is under way."""
        other = tiny_model()
        other.wrappers = heard.clone().wrappers

        def ask_the_other(step: int) -> None:
            if step == 1:
                sigma = other.get_model_object("model_sampling").sigma(torch.tensor([400.0]))
                options = {"wrappers": other.wrappers, "uuids": [uuid]}
                context = prompt("a dog")[0][0]
                other.model.apply_model(
                    torch.zeros(1, 4, 8, 8),
                    sigma,
                    c_crossattn=context,
                    transformer_options=options,
                )

        cat = guider(heard)
        uuid = cat.original_conds["positive"][0]["uuid"]
        assert bank.get(run(cat, SCHEDULE, sampler=Euler(ask_the_other))).timestep == NEAREST
        assert caplog.text == ""

    def test_the_second_half_of_a_run_inherits_the_first_half_s_features(
        self, heard: Any, bank: Any
    ) -> None:
        """KSampler (Advanced) and SplitSigmas: the rest is sampled without new noise."""
        half = run(guider(heard), (900, 410), last=200, pictures=2)
        first = [bank.get(half[number : number + 1]) for number in range(2)]
        rest = run(guider(heard), (200, 50), latents=half, noise=torch.zeros_like(half), pictures=2)
        for number in range(2):
            assert bank.get(rest[number : number + 1]) is first[number]
        assert first[0].timestep == 410

    def test_a_second_half_with_features_of_its_own_keeps_those(
        self, heard: Any, bank: Any
    ) -> None:
        half = run(guider(heard), (900, 480), last=390)
        rest = run(guider(heard), (390, 50), latents=half, noise=torch.zeros_like(half))
        assert (bank.get(half).timestep, bank.get(rest).timestep) == (480, 390)

    def test_new_noise_on_an_old_picture_inherits_nothing(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        """The picture changes, by however little."""
        picture = run(guider(heard), SCHEDULE)
        changed = run(guider(heard), (200, 50), latents=picture)
        assert "it made 200, 50" in reason(pack, bank.get(changed))


class Attention(nn.Module):
    """What counts as a spatial transformer, in as few operations as will do."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        mixed: Tensor = x + self.transformer_blocks[0](x) * context.std()
        return mixed


class SmallUNet(nn.Module):
    """SD 1.x's layout of layers, small enough to be compiled in a moment."""

    def __init__(self) -> None:
        super().__init__()
        down = [number in (1, 2, 4, 5, 7, 8) for number in range(12)]
        self.input_blocks = nn.ModuleList(self._stage(4, has_attention=has) for has in down)
        self.middle_block = self._stage(4, has_attention=True)
        up = [number >= 3 for number in range(12)]
        self.output_blocks = nn.ModuleList(self._stage(8, has_attention=has) for has in up)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        skips = []
        for stage in self.input_blocks:
            x = self._run(stage, x, context)
            skips.append(x)
        x = self._run(self.middle_block, x, context) + timesteps.mean() / 1000
        for stage in self.output_blocks:
            x = self._run(stage, torch.cat([x, skips.pop()], dim=1), context)
        return x

    @staticmethod
    def _stage(channels: int, *, has_attention: bool) -> nn.ModuleList:
        mixing = nn.Conv2d(channels, 4, 1)
        return nn.ModuleList([mixing, Attention()] if has_attention else [mixing])

    @staticmethod
    def _run(stage: nn.ModuleList, x: Tensor, context: Tensor) -> Tensor:
        x = torch.tanh(stage[0](x))
        return stage[1](x, context) if len(stage) > 1 else x


@pytest.fixture(scope="module")
def small(pack: Pack) -> Any:
    """A MODEL of the small UNet."""
    unet = SmallUNet().eval()
    randomise(unet, 2)
    return tiny_model(unet)


@pytest.fixture(scope="module")
def compiled(small: Any) -> Iterator[Any]:
    """The host's wrapper that swaps a compiled UNet in around each pass.

    As comfy_api/torch_helpers/torch_compile.py of 0.8.0.
    """
    network = torch.compile(small.model.diffusion_model, backend="eager")

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        base = executor.class_obj
        original = base.diffusion_model
        base.diffusion_model = network
        try:
            return executor(*args, **kwargs)
        finally:
            base.diffusion_model = original

    yield wrapper
    torch._dynamo.reset()


@pytest.mark.parametrize("is_first", [True, False])
def test_a_compiled_model_is_heard_in_either_order_of_the_nodes(
    pack: Pack, small: Any, compiled: Any, bank: Any, is_first: bool
) -> None:
    """Compiled modules would pass our hooks by in silence."""
    with_capture = pack.module("nodes.sampling").with_capture
    model = small.clone() if is_first else with_capture(small, bank)
    model.add_wrapper_with_key("apply_model", "torch.compile", compiled)
    model = with_capture(model, bank) if is_first else model
    sampler = Euler()
    found = bank.get(run(guider(model, cfg=1.0), SCHEDULE, sampler=sampler))
    assert found.timestep == NEAREST
    expected = features_by_hand(small, seen_at(sampler, NEAREST), NEAREST, "a cat")
    assert_same_features(found, expected)


def hooks_in_a_run(model: Any, unet: nn.Module) -> list[int]:
    """How many hooks there are before each step and within it; the one that looks is before it."""
    counts: list[int] = []
    watch = unet.time_embed.register_forward_hook(lambda *args: counts.append(hooks_of(unet) - 1))
    try:
        run(guider(model), SCHEDULE, sampler=Euler(lambda step: counts.append(hooks_of(unet))))
    finally:
        watch.remove()
    return counts
