"""Features taken while samplers run: whose they are, which are kept, why there are none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldznet_core.capture import EARLY

from .loading import Pack
from .studio import (
    NEAREST,
    PLACES,
    SCHEDULE,
    Euler,
    assert_same_features,
    basic_guider,
    dual_guider,
    features_by_hand,
    guide_away_from,
    guider,
    prompt,
    reason,
    run,
    seen_at,
    tiny_model,
)


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

    def test_until_the_run_ends_only_the_prompt_s_rows_are_kept(
        self, pack: Pack, heard: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On the device, whose memory the sampler needs."""
        runs, kept = pack.module("nodes.sampling")._Run, []
        heard_of = runs.heard_of

        def watched(self: Any, picture: slice) -> Any:
            kept.extend(self.nearest.values())
            return heard_of(self, picture)

        monkeypatch.setattr(runs, "heard_of", watched)
        run(guider(heard), SCHEDULE, pictures=2)
        blocks = [block for features in kept for block in features.blocks.values()]
        assert {len(block) for block in blocks} == {2}
        assert all(block.untyped_storage().nbytes() == block.nbytes for block in blocks)

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
        guide_away_from(heard, "cond", offset=1.0)
        sampler = Euler()
        found = bank.get(run(guider(heard), SCHEDULE, sampler=sampler))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)

    def test_a_pass_of_the_negative_prompt_alone_is_none_of_the_prompt(
        self, heard: Any, bank: Any
    ) -> None:
        """Self-attention guidance runs [uncond], then number 0, which is else the prompt's."""
        guide_away_from(heard, "uncond")
        sampler = Euler()
        found = bank.get(run(guider(heard), SCHEDULE, sampler=sampler))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        assert_same_features(found, expected)

    def test_roles_are_told_by_name_not_by_their_order(self, heard: Any, bank: Any) -> None:
        dual = dual_guider(heard, prompt("a cat"), prompt("a dog"), prompt(""))
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

    @pytest.mark.parametrize("order", [1, -1])
    def test_so_is_one_for_a_masked_part_in_whatever_order(
        self, heard: Any, bank: Any, order: int
    ) -> None:
        """Its passes are of the whole picture, and only its say is masked."""
        both = prompt("a dog", mask=torch.ones(1, 8, 16)) + prompt("a cat")
        sampler = Euler()
        sampled = run(guider(heard, both[::order]), SCHEDULE, sampler=sampler, size=(8, 16))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a cat")
        assert_same_features(bank.get(sampled), expected)

    def test_a_masked_part_s_alone_are_better_than_none(self, heard: Any, bank: Any) -> None:
        sampler, part = Euler(), prompt("a dog", mask=torch.ones(1, 8, 16))
        sampled = run(guider(heard, part), SCHEDULE, sampler=sampler, size=(8, 16))
        expected = features_by_hand(heard, seen_at(sampler, NEAREST), NEAREST, "a dog")
        assert_same_features(bank.get(sampled), expected)

    def test_without_a_negative_prompt_a_region_s_pass_is_told_by_its_size(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        """BasicGuider has none, and so no opposite to share a name with."""
        region, whole = prompt("a dog", area=(8, 8, 0, 8)), prompt("a cat")
        both, alone = basic_guider(heard, region + whole), basic_guider(heard, region)
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


class TestByWhichLatents:
    @pytest.mark.parametrize("last", [None, 200])
    def test_by_what_nodes_give_as_denoised_output_too(
        self, heard: Any, bank: Any, last: float | None
    ) -> None:
        """SamplerCustom and SamplerCustomAdvanced (nodes_custom_sampler.py, 0.8.0)."""
        shown: list[tuple[Any, ...]] = []
        watch = lambda *told: shown.append(told)  # noqa: E731
        sampled = run(guider(heard), SCHEDULE, pictures=2, last=last, callback=watch)
        assert [step for step, *_ in shown] == [0, 1, 2]
        denoised = heard.model.process_latent_out(shown[-1][1].cpu())
        for number in range(2):
            picture = slice(number, number + 1)
            seen = bank.seen(denoised[picture])
            assert seen is bank.seen(sampled[picture])
            assert seen.features(EARLY).timestep == NEAREST
            if last is None:
                assert seen.clean is None
            else:
                assert torch.equal(seen.clean, denoised[picture])
                assert not torch.equal(seen.clean, sampled[picture])

    def test_a_sampler_that_shows_no_estimate_costs_nothing(self, heard: Any, bank: Any) -> None:
        class Silent(Euler):
            def sample(self, model: Any, sigmas: Tensor, extra: Any, *rest: Any) -> Tensor:
                return super().sample(model, sigmas, extra, None, *rest[1:])

        seen = bank.seen(run(guider(heard), SCHEDULE, sampler=Silent(), last=200))
        assert (seen.features(EARLY).timestep, seen.clean) == (NEAREST, None)


class TestWhyThereAreNone:
    def test_a_unet_that_shrinks_pictures_within_shows_none(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        """As Deep Shrink has it: from one input block on, half as many positions."""
        unet = heard.model.diffusion_model
        hooks = [
            unet.input_blocks[4].register_forward_hook(lambda *made: F.avg_pool2d(made[2], 2)),
            unet.output_blocks[7].register_forward_hook(
                lambda *made: F.interpolate(made[2], scale_factor=2.0)
            ),
        ]
        try:
            told = reason(pack, bank.get(run(guider(heard), SCHEDULE, size=(32, 32))))
        finally:
            for hook in hooks:
                hook.remove()
        assert "turn off what shrinks pictures inside the UNet, such as Deep Shrink" in told

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

    def test_a_prompt_that_was_off_in_the_window_had_no_say_there(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        """Scheduled prompts again: this one has its say above t = 500 only."""
        early = prompt("a cat", end_percent=0.4)
        told = reason(pack, bank.get(run(guider(heard, early), SCHEDULE)))
        assert told == "the positive prompt had no say at a timestep from 300 to 500"

    def test_passes_without_names_are_not_said_to_be_missing(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        """Packs that call the model on their own name no conditioning."""
        from comfy.samplers import CFGGuider

        class Nameless(CFGGuider):
            def predict_noise(
                self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None
            ) -> Tensor:
                denoised: Tensor = self.inner_model.apply_model(
                    x,
                    timestep,
                    c_crossattn=self.conds["positive"][0]["cross_attn"],
                    transformer_options=dict(model_options["transformer_options"]),
                )
                return denoised

        nameless = Nameless(heard)
        nameless.set_conds(prompt("a cat"), prompt(""))
        told = reason(pack, bank.get(run(nameless, SCHEDULE)))
        assert "no pass" not in told

    def test_a_role_may_be_left_empty(self, heard: Any, bank: Any) -> None:
        """Some guiders put None in the place of a prompt that they do not use."""
        from comfy.samplers import CFGGuider

        class Bare(CFGGuider):
            def outer_sample(self, *args: Any, **kwargs: Any) -> Tensor:
                self.conds["negative"] = []
                sampled: Tensor = super().outer_sample(*args, **kwargs)
                return sampled

            def predict_noise(
                self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None
            ) -> Tensor:
                self.conds["negative"] = None
                return super().predict_noise(x, timestep, model_options, seed)

        bare = Bare(heard)
        bare.set_conds(prompt("a cat"), prompt(""))
        assert bank.get(run(bare, SCHEDULE)).timestep == NEAREST
