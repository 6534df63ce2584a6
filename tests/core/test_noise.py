"""Noise: Stable Diffusion's schedule, and draws that depend on nothing but the seed."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from ldznet_core.errors import InputError
from ldznet_core.noise import NoiseSchedule, seeded_noise


def test_the_schedule_is_stable_diffusion_s() -> None:
    schedule = NoiseSchedule()
    assert schedule.alphas_cumprod.shape == (1000,)
    assert schedule.alphas_cumprod.dtype == torch.float32
    # The ends that samplers print for SD 1.x: sigma from 0.0292 to 14.6146.
    assert schedule.sigma(0).item() == pytest.approx(0.0292, abs=1e-4)
    assert schedule.sigma(999).item() == pytest.approx(14.6146, abs=1e-3)


def test_adding_noise_agrees_with_diffusers() -> None:
    theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    latents, noise = seeded_noise((3, 4, 5, 6), 0), seeded_noise((3, 4, 5, 6), 1)
    timesteps = torch.tensor([0, 400, 999])
    # Diffusers multiplies its thousand factors up in fp32, we in fp64.
    torch.testing.assert_close(
        NoiseSchedule().add_noise(latents, noise, timesteps),
        theirs.add_noise(latents, noise, timesteps),
        atol=1e-5,
        rtol=1e-5,
    )


def test_one_timestep_serves_all_rows() -> None:
    schedule, latents, noise = (
        NoiseSchedule(),
        seeded_noise((2, 4, 3, 3), 0),
        torch.ones(2, 4, 3, 3),
    )
    for_all = schedule.add_noise(latents, noise, 400.0)
    assert torch.equal(for_all, schedule.add_noise(latents, noise, torch.tensor([400, 400])))


def test_half_precision_stays_half() -> None:
    half = torch.ones(1, 4, 2, 2, dtype=torch.float16)
    assert NoiseSchedule().add_noise(half, half, 400).dtype == torch.float16


@pytest.mark.parametrize("timestep", [-1, 1000, 400.5, float("nan")])
def test_a_timestep_off_the_schedule_is_refused(timestep: float) -> None:
    with pytest.raises(InputError, match=f"from 0 to 999, got {timestep}"):
        NoiseSchedule().sigma(timestep)


def test_a_seed_gives_the_same_noise_whatever_was_drawn_before() -> None:
    first = seeded_noise((1, 4, 8, 8), 7)
    torch.rand(3)
    assert torch.equal(seeded_noise((1, 4, 8, 8), 7), first)
    assert not torch.equal(seeded_noise((1, 4, 8, 8), 8), first)


def test_drawing_noise_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    seeded_noise((1, 4, 8, 8), 7)
    assert torch.equal(torch.get_rng_state(), state)
