"""Differences of noise estimates: the formulas written out agree, on a real UNet too."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ldznet_core.noise import NoiseSchedule
from ldznet_core.training_free.noise import clipped, mean_difference, noise_difference

from . import literal
from .small import WIDTH, noise, run, small_unet


def literal_norms(conditional: Tensor, unconditional: Tensor) -> Tensor:
    phrases, channels, height, width = conditional.shape
    norms = torch.zeros(phrases, height, width, dtype=torch.float64)
    for phrase in range(phrases):
        other = unconditional[min(phrase, len(unconditional) - 1)]
        for row in range(height):
            for column in range(width):
                squares = [
                    (float(conditional[phrase, c, row, column]) - float(other[c, row, column])) ** 2
                    for c in range(channels)
                ]
                norms[phrase, row, column] = math.sqrt(sum(squares))
    return norms


class TestOneNoise:
    @pytest.mark.parametrize("others", [1, 3])
    def test_the_norm_written_out_gives_the_same(self, others: int) -> None:
        conditional, unconditional = noise(3, 4, 2, 5), noise(others, 4, 2, 5, seed=1)
        literal.assert_near(
            noise_difference(conditional, unconditional), literal_norms(conditional, unconditional)
        )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_loses_nothing_more_on_the_way(self, dtype: torch.dtype) -> None:
        conditional = noise(2, 4, 2, 5).to(dtype)
        unconditional = noise(1, 4, 2, 5, seed=1).to(dtype)
        differences = noise_difference(conditional, unconditional)
        assert differences.dtype == torch.float32
        literal.assert_near(differences, literal_norms(conditional, unconditional))

    @torch.no_grad()
    def test_words_differ_from_none_and_none_from_itself_not_at_all(self) -> None:
        unet, latents = small_unet("sd1"), noise(1, 4, 8, 16)
        words, none = noise(1, 77, WIDTH), noise(1, 77, WIDTH, seed=1)
        estimates = run(unet, latents, torch.cat([words, none]))
        differences = noise_difference(estimates, estimates[1:])
        literal.assert_near(differences, literal_norms(estimates, estimates[1:]))
        assert differences[0].min() > 0
        assert differences[1].max() == 0


class TestSeveralNoises:
    def test_each_noise_has_a_generator_of_its_own_and_the_mean_is_taken(self) -> None:
        drawn: list[Tensor] = []

        def difference(generator: torch.Generator) -> Tensor:
            drawn.append(torch.randn(2, 3, 4, generator=generator).abs())
            return drawn[-1]

        mean = mean_difference(difference, 3, seed=5)
        assert len(drawn) == 3
        for index, each in enumerate(drawn):
            assert torch.equal(each, noise(2, 3, 4, seed=5 + index).abs())
        torch.testing.assert_close(mean, (drawn[0] + drawn[1] + drawn[2]) / 3)

    @torch.no_grad()
    def test_one_unet_under_several_noises_is_a_loop_over_them(self) -> None:
        unet, latents, schedule = small_unet("ours"), noise(1, 4, 8, 8), NoiseSchedule()
        context = noise(2, 77, WIDTH)

        def difference(generator: torch.Generator) -> Tensor:
            noisy = schedule.add_noise(latents, torch.randn(1, 4, 8, 8, generator=generator), 500)
            estimates = run(unet, noisy, context, 500)
            return noise_difference(estimates[:1], estimates[1:])

        total = torch.zeros(1, 8, 8, dtype=torch.float64)
        for seed in range(3):
            noisy = schedule.add_noise(latents, noise(1, 4, 8, 8, seed=seed), 500)
            estimates = run(unet, noisy, context, 500)
            total += literal_norms(estimates[:1], estimates[1:])
        literal.assert_near(mean_difference(difference, 3), total / 3)
        assert torch.equal(mean_difference(difference, 3), mean_difference(difference, 3))


class TestClipping:
    def test_the_rule_written_out_gives_the_same(self) -> None:
        differences = noise(2, 3, 4).abs() ** 4
        expected = torch.zeros(2, 3, 4, dtype=torch.float64)
        for phrase in range(2):
            values = differences[phrase].flatten().tolist()
            most = 3 * sum(values) / len(values)
            for index, value in enumerate(values):
                expected[phrase].view(-1)[index] = min(value, most) / most
        literal.assert_near(clipped(differences), expected)

    @given(st.integers(0, 999), st.floats(1e-6, 1e6))
    def test_shares_lie_in_0_to_1_whatever_the_scale(self, seed: int, scale: float) -> None:
        differences = noise(1, 4, 4, seed=seed).abs() ** 3
        shares = clipped(differences * scale)
        assert shares.min() >= 0
        assert shares.max() <= 1
        torch.testing.assert_close(shares, clipped(differences), atol=1e-5, rtol=0)

    def test_what_sticks_out_counts_as_1(self) -> None:
        differences = torch.ones(1, 4, 4)
        differences[0, 0, 0] = 1000
        assert clipped(differences)[0, 0, 0] == 1
        assert clipped(differences).sum() < 1.1

    def test_no_difference_at_all_is_0_everywhere(self) -> None:
        assert clipped(torch.zeros(1, 2, 2)).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]

    def test_phrases_are_clipped_each_by_itself(self) -> None:
        differences = noise(2, 3, 4).abs()
        alone = clipped(differences[1:])
        assert torch.equal(
            clipped(differences * torch.tensor([9.0, 1.0])[:, None, None])[1:], alone
        )
