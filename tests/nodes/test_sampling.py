"""Features taken while samplers run: whose they are, which are kept, what is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from .loading import Pack
from .studio import (
    PLACES,
    Euler,
    assert_same_features,
    features_by_hand,
    guider,
    hooks_of,
    prompt,
    run,
    tiny_model,
)

SCHEDULE = (900, 410, 350)
NEAREST = 410


@pytest.fixture(scope="module")
def plain(pack: Pack) -> Any:
    """A MODEL without capture; nothing in this file may change it."""
    return tiny_model()


@pytest.fixture
def bank(pack: Pack) -> Any:
    return pack.module("nodes.bank").Bank()


@pytest.fixture
def heard(pack: Pack, plain: Any, bank: Any) -> Any:
    """The MODEL with capture into the bank."""
    return pack.module("nodes.sampling").with_capture(plain, bank)


@pytest.fixture
def unet(plain: Any) -> Iterator[nn.Module]:
    """Its UNet, which bears no hook afterwards."""
    unet = plain.model.diffusion_model
    assert hooks_of(unet) == 0
    yield unet
    assert hooks_of(unet) == 0


def seen_at(sampler: Euler, timestep: float, timesteps: Any = SCHEDULE) -> Tensor:
    return sampler.seen[list(timesteps).index(timestep)]


def reason(pack: Pack, found: Any) -> str:
    assert isinstance(found, pack.module("nodes.bank").Missing)
    return str(found.reason)


class TestWhoseFeatures:
    @pytest.mark.parametrize(
        ("pictures", "cfg", "free_memory"),
        [
            (1, 5.0, float("inf")),
            (3, 5.0, float("inf")),
            (3, 5.0, 0.0),
            (1, 1.0, float("inf")),
        ],
    )
    def test_they_are_the_positive_prompt_s_each_picture_s_own(
        self,
        monkeypatch: pytest.MonkeyPatch,
        heard: Any,
        bank: Any,
        pictures: int,
        cfg: float,
        free_memory: float,
    ) -> None:
        """The host runs [uncond, cond] at once; apart where memory is short; cond alone at 1."""
        from comfy import model_management

        monkeypatch.setattr(model_management, "free_memory", free_memory)
        sampler = Euler()
        size = (8, 16)
        sampled = run(
            guider(heard, cfg=cfg), SCHEDULE, sampler=sampler, pictures=pictures, size=size
        )
        for number in range(pictures):
            picture = slice(number, number + 1)
            found = bank.get(sampled[picture])
            assert (found.timestep, found.source) == (NEAREST, "sampling")
            expected = features_by_hand(heard, seen_at(sampler, NEAREST)[picture], NEAREST, "a cat")
            assert_same_features(found, expected)

    def test_they_lie_on_the_cpu_in_memory_of_their_own(self, heard: Any, bank: Any) -> None:
        """A slice of the batch would keep all of it alive."""
        sampled = run(guider(heard), SCHEDULE, pictures=2)
        for block in bank.get(sampled[:1]).blocks.values():
            assert block.device.type == "cpu"
            assert block.untyped_storage().nbytes() == block.nbytes

    @pytest.mark.parametrize(
        ("timesteps", "kept"),
        [
            ((800, 480, 390, 310), 390),
            ((310, 390, 480), 390),
            ((700, 300, 100), 300),
            ((999, 500, 0), 500),
        ],
    )
    def test_of_all_passes_the_one_nearest_to_400_is_kept(
        self, heard: Any, bank: Any, timesteps: tuple[int, ...], kept: int
    ) -> None:
        sampler = Euler()
        found = bank.get(run(guider(heard), timesteps, sampler=sampler))
        assert found.timestep == kept
        x = seen_at(sampler, kept, timesteps)
        assert_same_features(found, features_by_hand(heard, x, kept, "a cat"))

    def test_of_passes_at_one_timestep_the_first_is_kept(
        self, heard: Any, bank: Any, plain: Any
    ) -> None:
        """Perturbed-attention guidance runs the prompt again, with a UNet made worse."""
        from comfy.samplers import calc_cond_batch

        def worse(args: dict[str, Any]) -> Tensor:
            x = args["input"] + 1
            options = args["model_options"]
            (bad,) = calc_cond_batch(args["model"], [args["cond"]], x, args["sigma"], options)
            return args["denoised"] + 0.5 * (args["cond_denoised"] - bad)

        heard.set_model_sampler_post_cfg_function(worse)
        sampler = Euler()
        found = bank.get(run(guider(heard), SCHEDULE, sampler=sampler))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)

    def test_a_pass_of_the_negative_prompt_alone_is_none_of_the_prompt(
        self, heard: Any, bank: Any
    ) -> None:
        """Self-attention guidance runs [uncond], then number 0, which is else the prompt's."""
        from comfy.samplers import calc_cond_batch

        def blurred(args: dict[str, Any]) -> Tensor:
            x, options = args["input"], args["model_options"]
            (bad,) = calc_cond_batch(args["model"], [args["uncond"]], x, args["sigma"], options)
            return args["denoised"] + 0.5 * (args["uncond_denoised"] - bad)

        heard.set_model_sampler_post_cfg_function(blurred)
        sampler = Euler()
        found = bank.get(run(guider(heard), SCHEDULE, sampler=sampler))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)

    def test_roles_are_told_by_name_not_by_their_order(self, heard: Any, bank: Any) -> None:
        """DualCFGGuider runs negative, middle, positive (nodes_custom_sampler.py, 0.8.0)."""
        from comfy.samplers import CFGGuider, calc_cond_batch

        class DualCFGGuider(CFGGuider):
            def predict_noise(
                self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None
            ) -> Tensor:
                conds = [self.conds[role] for role in ("negative", "middle", "positive")]
                none, middle, whole = calc_cond_batch(
                    self.inner_model, conds, x, timestep, model_options
                )
                return none + 2 * (middle - none) + 3 * (whole - middle)

        dual = DualCFGGuider(heard)
        dual.inner_set_conds(
            {"positive": prompt("a cat"), "middle": prompt("a dog"), "negative": prompt("")}
        )
        sampler = Euler()
        found = bank.get(run(dual, SCHEDULE, sampler=sampler))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)

    def test_a_prompt_for_a_region_is_left_to_the_prompt_for_the_whole(
        self, heard: Any, bank: Any
    ) -> None:
        both = prompt("a dog", area=(8, 8, 0, 8)) + prompt("a cat")
        sampler = Euler()
        found = bank.get(run(guider(heard, both), SCHEDULE, sampler=sampler, size=(8, 16)))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)

    def test_without_a_negative_prompt_a_region_s_pass_is_told_by_its_size(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        """BasicGuider has none, and so no opposite to share a name with."""
        region, whole = prompt("a dog", area=(8, 8, 0, 8)), prompt("a cat")
        both, alone = (guider(heard, cfg=1.0) for _ in range(2))
        for made, conds in ((both, region + whole), (alone, region)):
            made.original_conds.clear()
            made.inner_set_conds({"positive": conds})
        sampler = Euler()
        found = bank.get(run(both, SCHEDULE, sampler=sampler, size=(8, 16)))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)
        assert "regions only" in reason(pack, bank.get(run(alone, SCHEDULE, size=(8, 16))))

    @pytest.mark.parametrize("area", [(8, 8, 0, 8), (8, 16, 0, 0)])
    def test_a_prompt_that_shares_its_name_with_its_opposite_gives_none(
        self, pack: Pack, heard: Any, bank: Any, area: tuple[int, ...]
    ) -> None:
        """Even one for a region that happens to be all there is."""
        sampled = run(guider(heard, prompt("a dog", area=area)), SCHEDULE, size=(8, 16))
        assert "regions only" in reason(pack, bank.get(sampled))

    @pytest.mark.parametrize("order", [1, -1])
    def test_of_two_prompts_in_turn_the_one_nearest_to_400_counts(
        self, heard: Any, bank: Any, order: int
    ) -> None:
        """Scheduled prompts: from 0.55 of the way on, at t = 449 and below, it is a dog."""
        turns = [*prompt("a cat", end_percent=0.55), *prompt("a dog", start_percent=0.55)]
        sampler, timesteps = Euler(), (480, 410, 350)
        sampled = run(guider(heard, turns[::order]), timesteps, sampler=sampler)
        x = seen_at(sampler, NEAREST, timesteps)
        expected = features_by_hand(heard, x, NEAREST, "a dog")
        assert_same_features(bank.get(sampled), expected)

    def test_what_the_host_does_to_a_feature_map_later_leaves_ours_alone(
        self, heard: Any, bank: Any, unet: nn.Module
    ) -> None:
        """FreeU and ControlNet write into the very tensors that the taps gave."""

        def spoil(module: nn.Module, inputs: Any, output: Tensor) -> None:
            output.mul_(1.5).add_(1)

        blocks = [unet.get_submodule(name.rpartition(".")[0]) for name in PLACES.values()]
        handles = [block.register_forward_hook(spoil) for block in blocks]
        sampler = Euler()
        try:
            found = bank.get(run(guider(heard), SCHEDULE, sampler=sampler))
            expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        finally:
            for handle in handles:
                handle.remove()
        assert_same_features(found, expected)


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
        counts = []
        watch = unet.time_embed.register_forward_hook(
            lambda *args: counts.append(hooks_of(unet) - 1)
        )
        try:
            run(guider(heard), SCHEDULE, sampler=Euler(lambda step: counts.append(hooks_of(unet))))
        finally:
            watch.remove()
        # before and within each step; 350 is farther from 400 than 410
        assert counts == [1, 0, 1, 5, 1, 0]

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


class TestWhyThereAreNone:
    def test_a_prompt_that_was_off_in_the_window_is_not_said_to_be_of_a_region(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        """Scheduled prompts again: this one has its say above t = 500 only."""
        early = prompt("a cat", end_percent=0.4)
        told = reason(pack, bank.get(run(guider(heard, early), SCHEDULE)))
        assert "region" not in told

    def test_a_missed_window_is_told_with_the_timesteps(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        sampled = run(guider(heard), (900, 510, 290, 10))
        assert reason(pack, bank.get(sampled)) == (
            "sampling made no pass at a timestep from 300 to 500 (it made 900, 510, 290, 10)"
        )

    def test_of_many_timesteps_the_message_lists_a_dozen(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        sampled = run(guider(heard), range(999, 501, -38))
        assert reason(pack, bank.get(sampled)).count(", ") == 11

    def test_a_run_without_steps_made_no_pass(self, pack: Pack, heard: Any, bank: Any) -> None:
        sampled = run(guider(heard), (), last=100)
        assert reason(pack, bank.get(sampled)) == "sampling made no pass of this UNet"

    def test_a_model_of_another_layout_is_refused_by_name(self, pack: Pack, bank: Any) -> None:
        flux = tiny_model(nn.Sequential(nn.Linear(4, 4)))
        error = pack.module("ldznet_core").UnsupportedModelError
        with pytest.raises(error, match=r"expected the UNet of an SD 1\.x model"):
            pack.module("nodes.sampling").with_capture(flux, bank)


@pytest.fixture(scope="module")
def compiled(plain: Any) -> Iterator[Any]:
    """The host's wrapper that swaps a compiled UNet in around each pass.

    As comfy_api/torch_helpers/torch_compile.py of 0.8.0.
    """
    network = torch.compile(plain.model.diffusion_model, backend="eager")

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
    pack: Pack, plain: Any, compiled: Any, bank: Any, is_first: bool
) -> None:
    """Compiled modules would pass our hooks by in silence."""
    with_capture = pack.module("nodes.sampling").with_capture
    model = plain.clone() if is_first else with_capture(plain, bank)
    model.add_wrapper_with_key("apply_model", "torch.compile", compiled)
    model = with_capture(model, bank) if is_first else model
    sampler = Euler()
    found = bank.get(run(guider(model, cfg=1.0), SCHEDULE, sampler=sampler))
    assert found.timestep == NEAREST
    expected = features_by_hand(plain, seen_at(sampler, NEAREST), NEAREST, "a cat")
    assert_same_features(found, expected)
