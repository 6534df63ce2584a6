"""What the prompt changes in the noise while samplers run: whose it is, and why there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ldznet_core.capture import EARLY

from .loading import Pack
from .studio import (
    SCHEDULE,
    TEXTS,
    Euler,
    basic_guider,
    dual_guider,
    guide_away_from,
    guider,
    hooks_of,
    prompt,
    reason,
    run,
)

WINDOW = (200, 800)
TIMESTEPS = (900, 700, 410, 150)
"""Of which two lie in the window of differences, and one in that of features."""


def noise_by_hand(model: Any, x: Tensor, timestep: float, text: str) -> Tensor:
    """What the UNet predicts of noisy latents ``(1, 4, h, w)``."""
    sigma = model.get_model_object("model_sampling").sigma(torch.tensor([timestep]))
    with torch.inference_mode():
        scaled = x / (sigma**2 + 1) ** 0.5
        noise: Tensor = model.model.diffusion_model(
            scaled, torch.tensor([float(timestep)]), TEXTS.encode_text([text])
        )
    return noise


def difference_by_hand(
    model: Any,
    sampler: Euler,
    timesteps: tuple[int, ...] = TIMESTEPS,
    *,
    prompts: tuple[str, ...] = ("a cat",),
    reference: str = "",
    picture: slice = slice(0, 1),
) -> Tensor:
    """The mean over the steps in the window of the norm over channels, ``(h, w)``."""
    norms = []
    for x, timestep in zip(sampler.seen, timesteps, strict=True):
        if WINDOW[0] <= timestep <= WINDOW[1]:
            each = [noise_by_hand(model, x[picture], timestep, text) for text in prompts]
            wanted = torch.stack(each).mean(dim=0)
            other = noise_by_hand(model, x[picture], timestep, reference)
            norms.append(((wanted - other) ** 2).sum(dim=1).sqrt()[0])
    return torch.stack(norms).mean(dim=0)


def assert_same(found: Any, expected: Tensor) -> None:
    """Equal but for the rounding of passes in other batches, and of clean latents."""
    assert isinstance(found, Tensor), found
    torch.testing.assert_close(found, expected, atol=2e-3 * float(expected.mean()), rtol=1e-3)


class TestWhose:
    @pytest.mark.parametrize(
        ("pictures", "free_memory"), [(1, float("inf")), (2, float("inf")), (2, 0.0)]
    )
    def test_it_is_each_picture_s_own_in_one_pass_or_in_two(
        self,
        monkeypatch: pytest.MonkeyPatch,
        heard: Any,
        bank: Any,
        pictures: int,
        free_memory: float,
    ) -> None:
        from comfy import model_management

        monkeypatch.setattr(model_management, "free_memory", free_memory)
        sampler = Euler()
        sampled = run(guider(heard), TIMESTEPS, sampler=sampler, pictures=pictures, size=(8, 16))
        for number in range(pictures):
            picture = slice(number, number + 1)
            found = bank.seen(sampled[picture]).difference
            assert_same(found, difference_by_hand(heard, sampler, picture=picture))

    def test_it_lies_on_the_cpu_in_memory_of_its_own(self, heard: Any, bank: Any) -> None:
        sampled = run(guider(heard), TIMESTEPS, pictures=2)
        found = bank.seen(sampled[:1]).difference
        assert found.shape == (8, 8)
        assert found.device.type == "cpu"
        assert found.untyped_storage().nbytes() == found.nbytes == 8 * 8 * 4

    def test_the_reference_is_the_negative_prompt(self, heard: Any, bank: Any) -> None:
        sampler = Euler()
        made = guider(heard, prompt("a cat"), prompt("a dog"))
        found = bank.seen(run(made, TIMESTEPS, sampler=sampler)).difference
        assert_same(found, difference_by_hand(heard, sampler, reference="a dog"))

    def test_several_prompts_for_the_whole_count_together(self, heard: Any, bank: Any) -> None:
        """ConditioningCombine."""
        sampler = Euler()
        both = guider(heard, prompt("a cat", "a dog"))
        found = bank.seen(run(both, TIMESTEPS, sampler=sampler)).difference
        assert_same(found, difference_by_hand(heard, sampler, prompts=("a cat", "a dog")))

    def test_a_prompt_s_strength_is_its_weight(self, heard: Any, bank: Any) -> None:
        sampler = Euler()
        both = [*prompt("a cat", strength=3.0), *prompt("a dog", strength=1.0)]
        found = bank.seen(run(guider(heard, both), TIMESTEPS, sampler=sampler)).difference
        expected = difference_by_hand(heard, sampler, prompts=("a cat", "a cat", "a cat", "a dog"))
        assert_same(found, expected)

    @pytest.mark.parametrize("part", [{"area": (8, 8, 0, 8)}, {"mask": torch.ones(1, 8, 16)}])
    def test_prompts_for_a_region_are_left_out(
        self, heard: Any, bank: Any, part: dict[str, Any]
    ) -> None:
        sampler = Euler()
        both = prompt("a dog", **part) + prompt("a cat")
        made = run(guider(heard, both), TIMESTEPS, sampler=sampler, size=(8, 16))
        assert_same(bank.seen(made).difference, difference_by_hand(heard, sampler))

    def test_passes_that_guidance_repeats_are_left_out(self, heard: Any, bank: Any) -> None:
        """Perturbed-attention guidance runs the prompt again, with a UNet made worse."""
        guide_away_from(heard, "cond", offset=1.0)
        sampler = Euler()
        found = bank.seen(run(guider(heard), TIMESTEPS, sampler=sampler)).difference
        assert_same(found, difference_by_hand(heard, sampler))

    def test_roles_are_told_by_name_not_by_their_order(self, heard: Any, bank: Any) -> None:
        dual = dual_guider(heard, prompt("a cat"), prompt("a dog"), prompt(""))
        sampler = Euler()
        found = bank.seen(run(dual, TIMESTEPS, sampler=sampler)).difference
        assert_same(found, difference_by_hand(heard, sampler))

    def test_it_is_there_without_a_pass_for_features(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        sampler = Euler()
        seen = bank.seen(run(guider(heard), (900, 600, 250), sampler=sampler))
        assert "no pass at a timestep from 300 to 500" in reason(pack, seen.features(EARLY))
        assert_same(seen.difference, difference_by_hand(heard, sampler, (900, 600, 250)))

    def test_features_that_are_not_heard_cost_it_nothing(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        def twice(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
            executor(*args, **kwargs)
            return executor(*args, **kwargs)

        heard.add_wrapper_with_key("apply_model", "theirs", twice)
        sampler = Euler()
        seen = bank.seen(run(guider(heard), TIMESTEPS, sampler=sampler))
        assert "fired 2 times" in reason(pack, seen.features(EARLY))
        assert_same(seen.difference, difference_by_hand(heard, sampler))


class TestManners:
    @pytest.mark.parametrize("pictures", [1, 2])
    def test_the_picture_is_the_same_bit_for_bit(
        self, heard: Any, plain: Any, pictures: int
    ) -> None:
        with_capture = run(guider(heard), TIMESTEPS, pictures=pictures)
        assert torch.equal(with_capture, run(guider(plain), TIMESTEPS, pictures=pictures))

    def test_it_needs_no_hook(self, heard: Any, bank: Any, unet: nn.Module) -> None:
        counts = []
        watch = unet.time_embed.register_forward_hook(
            lambda *args: counts.append(hooks_of(unet) - 1)
        )
        try:
            sampled = run(guider(heard), (900, 700, 600))
        finally:
            watch.remove()
        assert counts == [0, 0, 0]
        assert isinstance(bank.seen(sampled).difference, Tensor)

    def test_the_second_half_of_a_run_inherits_the_first_half_s(
        self, heard: Any, bank: Any
    ) -> None:
        half = run(guider(heard), (900, 410), last=150)
        rest = run(guider(heard), (150, 50), latents=half, noise=torch.zeros_like(half))
        assert bank.seen(rest).difference is bank.seen(half).difference
        assert isinstance(bank.seen(rest).difference, Tensor)

    def test_a_run_within_a_run_has_one_of_its_own(self, heard: Any, bank: Any) -> None:
        inner, inside = Euler(), []

        def sample_inside(step: int) -> None:
            if step == 2:
                dog = guider(heard, prompt("a dog"))
                inside.append(run(dog, (450, 390), sampler=inner, seed=5))

        outer = Euler(sample_inside)
        found = bank.seen(run(guider(heard), TIMESTEPS, sampler=outer)).difference
        assert_same(found, difference_by_hand(heard, outer))
        found = bank.seen(inside[0]).difference
        assert_same(found, difference_by_hand(heard, inner, (450, 390), prompts=("a dog",)))


class TestWhyThereIsNone:
    WHEN = "at a timestep from 200 to 800"

    def why(self, pack: Pack, bank: Any, sampled: Tensor) -> str:
        return reason(pack, bank.seen(sampled).difference)

    def test_without_guidance_there_is_nothing_to_compare(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        sampled = run(guider(heard, cfg=1.0), SCHEDULE)
        assert self.why(pack, bank, sampled) == (
            f"sampling had no guidance {self.WHEN} (a CFG of 1, or no negative prompt)"
        )
        assert not isinstance(bank.get(sampled), pack.module("nodes.bank").Missing)

    def test_a_guider_without_a_negative_prompt_has_no_guidance(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        """BasicGuider."""
        made = basic_guider(heard, prompt("a cat"))
        assert "no guidance" in self.why(pack, bank, run(made, SCHEDULE))

    def test_a_missed_window_is_told_with_the_timesteps(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        sampled = run(guider(heard), (900, 150, 10))
        assert self.why(pack, bank, sampled) == (
            f"sampling made no pass {self.WHEN} (it made 900, 150, 10)"
        )

    def test_prompts_for_regions_alone_are_told(self, pack: Pack, heard: Any, bank: Any) -> None:
        for part in ({"area": (8, 8, 0, 8)}, {"mask": torch.ones(1, 8, 16)}):
            sampled = run(guider(heard, prompt("a dog", **part)), SCHEDULE, size=(8, 16))
            assert "regions only" in self.why(pack, bank, sampled)

    def test_a_prompt_that_was_off_in_the_window_had_no_say_there(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        early = prompt("a cat", end_percent=0.15)
        told = self.why(pack, bank, run(guider(heard, early), SCHEDULE))
        assert told == f"the positive prompt had no say {self.WHEN}"

    def test_prompts_that_take_turns_have_no_step_together(
        self, pack: Pack, heard: Any, bank: Any
    ) -> None:
        """From 0.55 of the way on, at t = 449 and below, the negative one has its say."""
        made = guider(heard, prompt("a cat", end_percent=0.55), prompt("", start_percent=0.55))
        told = self.why(pack, bank, run(made, (700, 300)))
        assert told == "no step had both prompts for the whole picture"
