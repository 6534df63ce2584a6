"""The map of a whole prompt: the mean of norms written out, whichever way estimates come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ldznet_core import InputError
from ldznet_core.noise import NoiseSchedule
from ldznet_core.training_free.whole_prompt import (
    THRESHOLD,
    WINDOW,
    PromptDifference,
    Side,
    segment_prompt,
)

from . import literal
from .small import WIDTH, noise, run, small_unet

TIMESTEPS = (700.0, 500.0, 300.0)


def estimates(side: Side, step: int = 0, pictures: int = 2) -> Tensor:
    return noise(pictures, 4, 3, 5, seed=10 * step + (side == "prompt"))


def literal_mean(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The mean over steps of the norm over channels, number by number."""
    pictures, channels, height, width = pairs[0][0].shape
    mean = torch.zeros(pictures, height, width, dtype=torch.float64)
    for picture in range(pictures):
        for row in range(height):
            for column in range(width):
                norms = [
                    math.sqrt(
                        sum(
                            (float(a[picture, c, row, column]) - float(b[picture, c, row, column]))
                            ** 2
                            for c in range(channels)
                        )
                    )
                    for a, b in pairs
                ]
                mean[picture, row, column] = sum(norms) / len(norms)
    return mean


def heard(steps: Sequence[float] = TIMESTEPS) -> PromptDifference:
    """Some steps, each with both sides."""
    difference = PromptDifference()
    for step, timestep in enumerate(steps):
        for side in ("prompt", "reference"):
            difference.add(estimates(side, step), side, timestep)  # type: ignore[arg-type]
    return difference


def maps_of(difference: PromptDifference) -> Tensor:
    maps = difference.maps()
    assert maps is not None
    return maps


EXPECTED = literal_mean([(estimates("prompt", s), estimates("reference", s)) for s in range(3)])


class TestTheMean:
    def test_it_is_that_of_the_steps_norms_each_picture_s_own(self) -> None:
        difference = heard()
        literal.assert_near(maps_of(difference), EXPECTED)
        assert difference.steps == 3

    def test_it_may_be_asked_for_twice_and_in_between(self) -> None:
        difference = heard(TIMESTEPS[:2])
        difference.maps()
        for side in ("prompt", "reference"):
            difference.add(estimates(side, 2), side, TIMESTEPS[2])  # type: ignore[arg-type]
        literal.assert_near(maps_of(difference), EXPECTED)
        assert torch.equal(maps_of(difference), maps_of(difference))

    def test_the_order_of_the_sides_does_not_matter(self) -> None:
        difference = PromptDifference()
        difference.add(estimates("reference"), "reference", 400)
        difference.add(estimates("prompt"), "prompt", 400)
        other = PromptDifference()
        other.add(estimates("prompt"), "prompt", 400)
        other.add(estimates("reference"), "reference", 400)
        assert torch.equal(maps_of(difference), maps_of(other))

    def test_several_conditionings_of_a_side_count_by_their_weights(self) -> None:
        difference = PromptDifference()
        first, second = noise(1, 4, 3, 5, seed=1), noise(1, 4, 3, 5, seed=2)
        difference.add(first, "prompt", 400, name="a", weight=1.0)
        difference.add(estimates("reference", pictures=1), "reference", 400)
        difference.add(second, "prompt", 400, name="b", weight=3.0)
        mean = (first + 3 * second) / 4
        expected = literal_mean([(mean, estimates("reference", pictures=1))])
        literal.assert_near(maps_of(difference), expected)

    def test_of_a_conditioning_s_passes_at_one_timestep_the_first_counts(self) -> None:
        difference = PromptDifference()
        difference.add(estimates("prompt"), "prompt", 700, name="a")
        difference.add(estimates("reference"), "reference", 700, name="b")
        difference.add(estimates("prompt") + 9, "prompt", 700, name="a")
        expected = literal_mean([(estimates("prompt"), estimates("reference"))])
        literal.assert_near(maps_of(difference), expected)

    def test_what_is_done_to_the_estimates_later_leaves_the_map_alone(self) -> None:
        """Hosts write guided noise into the very tensors."""
        difference, given = PromptDifference(), estimates("prompt")
        difference.add(given, "prompt", 400)
        given.mul_(5)
        difference.add(estimates("reference"), "reference", 400)
        expected = literal_mean([(estimates("prompt"), estimates("reference"))])
        literal.assert_near(maps_of(difference), expected)

    def test_nothing_is_written_into_the_estimates(self) -> None:
        given = estimates("prompt")
        difference = PromptDifference()
        difference.add(given, "prompt", 400, name="a", weight=2.0)
        difference.add(given, "prompt", 400, name="b")
        difference.add(estimates("reference"), "reference", 400)
        difference.maps()
        assert torch.equal(given, estimates("prompt"))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_loses_nothing_more_on_the_way(self, dtype: torch.dtype) -> None:
        prompt, reference = estimates("prompt").to(dtype), estimates("reference").to(dtype)
        difference = PromptDifference()
        difference.add(prompt, "prompt", 400)
        difference.add(reference, "reference", 400)
        assert maps_of(difference).dtype == torch.float32
        literal.assert_near(maps_of(difference), literal_mean([(prompt, reference)]))


class TestWhatCounts:
    @pytest.mark.parametrize("timestep", [WINDOW[0] - 1, WINDOW[1] + 1])
    def test_steps_outside_of_the_window_do_not(self, timestep: float) -> None:
        assert heard((timestep,)).maps() is None

    @pytest.mark.parametrize("timestep", WINDOW)
    def test_its_ends_do(self, timestep: float) -> None:
        assert heard((timestep,)).maps() is not None

    @pytest.mark.parametrize("side", ["prompt", "reference"])
    def test_a_step_with_one_side_does_not(self, side: Side) -> None:
        difference = PromptDifference()
        difference.add(estimates(side), side, 700)
        assert difference.maps() is None
        difference = heard(TIMESTEPS[:1])
        difference.add(estimates(side), side, 600)
        difference.add(estimates(side), side, 500)
        assert difference.maps() is not None
        assert difference.steps == 1

    def test_sides_of_two_steps_are_not_compared(self) -> None:
        difference = PromptDifference()
        difference.add(estimates("prompt"), "prompt", 700)
        difference.add(estimates("reference"), "reference", 600)
        assert difference.maps() is None

    def test_a_conditioning_without_weight_does_not(self) -> None:
        difference = PromptDifference()
        difference.add(estimates("prompt"), "prompt", 400, weight=0.0)
        difference.add(estimates("reference"), "reference", 400)
        assert difference.maps() is None


class TestWhatTheModelPredicts:
    @pytest.mark.parametrize("timestep", [250, 400, 750])
    def test_clean_latents_and_v_tell_the_same_as_noise(self, timestep: int) -> None:
        """Of x = a z + b e and v = a e - b z: e differs by v / a, z by -(b / a) e."""
        schedule = NoiseSchedule()
        kept = schedule.alphas_cumprod[timestep].double()
        a, b = kept.sqrt(), (1 - kept).sqrt()
        x = noise(1, 4, 3, 5, seed=7).double()
        v = {side: noise(1, 4, 3, 5, seed=n).double() for n, side in enumerate(("p", "r"))}
        noises = {side: a * each + b * x for side, each in v.items()}
        clean = {side: a * x - b * each for side, each in v.items()}
        maps = []
        for given, sigma in ((noises, 1.0), (clean, float(schedule.sigma(timestep))), (v, 1.0)):
            difference = PromptDifference()
            difference.add(given["p"], "prompt", timestep, sigma=sigma)
            difference.add(given["r"], "reference", timestep, sigma=sigma)
            maps.append(maps_of(difference))
        torch.testing.assert_close(maps[1], maps[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(maps[2] * float(a), maps[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_on_a_real_unet_rows_of_one_pass_and_passes_of_one_row_tell_the_same() -> None:
    unet, latents = small_unet("sd1"), noise(1, 4, 8, 16)
    prompt, none = noise(1, 77, WIDTH), noise(1, 77, WIDTH, seed=1)
    together, apart = PromptDifference(), PromptDifference()
    for t in TIMESTEPS:
        both = run(unet, latents, torch.cat([none, prompt]), t)
        together.add(both[:1], "reference", t)
        together.add(both[1:], "prompt", t)
        apart.add(run(unet, latents, prompt, t), "prompt", t)
        apart.add(run(unet, latents, none, t), "reference", t)
    assert maps_of(together).shape == (1, 8, 16)
    assert float(maps_of(together).min()) > 0
    literal.assert_near(maps_of(together), maps_of(apart).double())


class TestTheMask:
    def test_it_is_where_the_clipped_share_is_above_the_threshold_at_the_picture_s_size(
        self,
    ) -> None:
        difference = torch.zeros(4, 6)
        difference[1:3, 2:5] = 1.0
        found = segment_prompt(difference)
        assert found.masks.shape == found.probabilities.shape == (1, 32, 48)
        assert float(found.masks[0, 12:20, 20:36].min()) == 1
        assert float(found.masks[0, :4].max()) == 0
        assert torch.equal(found.masks, (found.probabilities > THRESHOLD).float())

    def test_its_probabilities_are_shares_of_three_times_the_mean(self) -> None:
        difference = torch.ones(4, 8)
        difference[:, 4:] = 3.0
        probabilities = segment_prompt(difference).probabilities[0]
        assert float(probabilities[16, 4]) == pytest.approx(1 / 6, abs=1e-4)
        assert float(probabilities[16, 60]) == pytest.approx(3 / 6, abs=1e-4)

    def test_a_higher_threshold_takes_in_less(self) -> None:
        difference = noise(8, 8).abs()
        sizes = [float(segment_prompt(difference, t).masks.sum()) for t in (0.1, 0.35, 0.7)]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > sizes[-1]

    def test_no_difference_is_an_empty_mask(self) -> None:
        found = segment_prompt(torch.zeros(4, 4))
        assert float(found.masks.sum()) == 0
        assert found.found == [False]

    def test_the_scale_of_the_differences_does_not_matter(self) -> None:
        difference = noise(4, 6).abs()
        ours, theirs = (segment_prompt(each).probabilities for each in (difference, 7 * difference))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers_that_are_none_are_refused_in_words(self, value: float) -> None:
        difference = torch.ones(4, 4)
        difference[2, 2] = value
        with pytest.raises(InputError, match="expected finite numbers from the sampler"):
            segment_prompt(difference)

    @pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0])
    def test_a_threshold_that_is_no_share_is_refused(self, threshold: float) -> None:
        with pytest.raises(InputError, match="above 0 and below 1"):
            segment_prompt(torch.ones(4, 4), threshold)
