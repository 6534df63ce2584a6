"""By which latents a picture is known in the real host, and what is read where noise is left."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .client import Client
from .graph import Node
from .workflows import Setup, miniature, report_of

HEARD = "features: captured while sampling at t = "
NOISY = "the latent still has noise: masks are of what its sampler took for the clean picture"


@pytest.fixture
def setup(client: Client) -> Setup:
    return miniature(client)


def sample_custom(setup: Setup, model: Any) -> Node:
    """SamplerCustomAdvanced, whose outputs are the latent and the denoised one."""
    add = setup.graph.add
    guider = add(
        "CFGGuider", model=model, positive=setup.positive, negative=setup.negative, cfg=5.0
    )[0]
    sigmas = add("BasicScheduler", model=model, scheduler="normal", steps=20, denoise=1.0)[0]
    return add(
        "SamplerCustomAdvanced",
        noise=add("RandomNoise", noise_seed=0)[0],
        guider=guider,
        sampler=add("KSamplerSelect", sampler_name="euler")[0],
        sigmas=sigmas,
        latent_image=setup.empty(),
    )


def sample_part(setup: Setup, model: Any, end: int) -> Node:
    """KSampler Advanced up to a step, the noise left in."""
    return setup.graph.add(
        "KSamplerAdvanced",
        model=model,
        positive=setup.positive,
        negative=setup.negative,
        latent_image=setup.empty(),
        add_noise="enable",
        noise_seed=0,
        steps=20,
        cfg=5.0,
        sampler_name="euler",
        scheduler="normal",
        start_at_step=0,
        end_at_step=end,
        return_with_leftover_noise="enable",
    )


def test_the_denoised_output_is_the_same_picture(client: Client, setup: Setup) -> None:
    painted = sample_custom(setup, setup.capture())
    both = [setup.segment(setup.model, painted[index]) for index in range(2)]
    reads = [setup.read(each["probabilities"]) for each in both]
    result = client.run(setup.graph)
    assert all(report_of(result, each).splitlines()[-1].startswith(HEARD) for each in both)
    one, other = (client.values(result, read)[0] for read in reads)
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_where_noise_is_left_the_verdicts_are_those_of_a_picture(
    client: Client, setup: Setup
) -> None:
    """Read as they are, such latents turn the paper's head's verdicts around."""
    model = setup.capture()
    half, whole = sample_part(setup, model, 14), sample_part(setup, model, 20)
    phrases = "the car\nthe meadow"
    answers = [setup.segment(model, each, phrases=phrases) for each in (half, whole)]
    reads = [setup.read(each["scores"]) for each in answers]
    result = client.run(setup.graph)
    told = [report_of(result, each).splitlines() for each in answers]
    assert told[0][-1] == NOISY
    assert told[0][-2].startswith(HEARD)
    assert NOISY not in told[1]
    noisy, clean = (client.values(result, read) for read in reads)
    assert noisy == pytest.approx(clean, abs=0.1)


@pytest.mark.parametrize("first", ["shrink", "capture"])
def test_what_shrinks_pictures_inside_the_unet_costs_an_extra_pass(
    client: Client, setup: Setup, first: str
) -> None:
    """Kohya's Deep Shrink, still at work at t = 400."""

    def shrunk(model: Any) -> Any:
        settings = {"block_number": 3, "downscale_factor": 2.0, "start_percent": 0.0}
        settings |= {"end_percent": 0.7, "downscale_after_skip": True}
        settings |= {"downscale_method": "bicubic", "upscale_method": "bicubic"}
        return setup.graph.add("PatchModelAddDownscale", model=model, **settings)[0]

    model = setup.capture(shrunk(setup.model)) if first == "shrink" else shrunk(setup.capture())
    painted = setup.sample(model, setup.empty(192, 192), steps=20)
    segment = setup.segment(setup.model, painted)
    told = report_of(client.run(setup.graph), segment).splitlines()[-1]
    assert told.startswith("features: from one extra pass (probe)")
    assert "such as Deep Shrink" in told
