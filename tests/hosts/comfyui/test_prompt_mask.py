"""The mask of a whole prompt in real hosts: the picture stays, the mask is of the thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from .client import Client, Result
from .graph import Node
from .workflows import Setup, miniature

CLEAN = {"steps": 20, "sampler_name": "dpmpp_2m_sde", "scheduler": "karras"}
"""Settings with which the miniature paints clean pictures."""


def prompt_mask(setup: Setup, samples: Any, **settings: Any) -> Node:
    return setup.graph.add("LDZNetPromptMask", samples=samples, **settings)


def only(client: Client, result: Result, read: Node) -> Tensor:
    """The one tensor that a node brought out."""
    (value,) = client.values(result, read)
    found: Tensor = value
    return found


def failure_of(client: Client, setup: Setup) -> str:
    failure = client.run(setup.graph, may_fail=True).failure
    assert failure is not None
    return failure.message


def test_the_picture_stays_the_same_and_the_mask_is_of_the_thing(every_client: Client) -> None:
    client, setup = every_client, miniature(every_client, negative="")
    plain, painted = (
        setup.sample(model, setup.empty(), **CLEAN) for model in (setup.model, setup.capture())
    )
    mask = prompt_mask(setup, painted)
    thing = setup.segment(setup.model, painted, phrases="the red car")
    reads = [setup.read(each) for each in (plain, painted, mask["mask"], mask["heatmap"])]
    read_thing = setup.read(thing["mask"])
    result = client.run(setup.graph)
    before, after, found, heat = (only(client, result, read) for read in reads)
    assert torch.equal(before, after)
    assert found.shape == (1, 128, 128)
    assert heat.shape == (1, 128, 128, 3)
    car = only(client, result, read_thing)
    assert float((found * car).sum() / car.sum()) > 0.5
    assert float((found * (1 - car)).mean()) < 0.3
    assert len(result.outputs[mask.id]["images"]) == 1
    assert client.get_json("/ldztest/state")["hooks"] == []


def test_batches_and_split_passes(client: Client) -> None:
    """With the host short of memory each prompt has passes of its own; the map is the same."""
    setup = miniature(client)
    hungry = setup.graph.add("LDZTestHungry", model=setup.capture())[0]
    maps = [
        prompt_mask(setup, setup.sample(model, setup.empty(batch_size=2)))["heatmap"]
        for model in (setup.capture(), hungry)
    ]
    reads = [setup.read(each) for each in maps]
    result = client.run(setup.graph)
    whole, split = (only(client, result, read) for read in reads)
    assert whole.shape == (2, 128, 128, 3)
    torch.testing.assert_close(whole, split, atol=2e-3, rtol=0)
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("attention", [False, True])
def test_it_is_there_whatever_else_is_listened_for(client: Client, attention: bool) -> None:
    setup = miniature(client)
    model = setup.graph.add("LDZNetCapture", model=setup.model, attention=attention)[0]
    read = setup.read(prompt_mask(setup, setup.sample(model, setup.empty()))["mask"])
    found = only(client, client.run(setup.graph), read)
    assert 0 < float(found.mean()) < 1


def test_a_picture_of_any_size(client: Client) -> None:
    setup = miniature(client)
    painted = setup.sample(setup.capture(), setup.empty(152, 112))
    read = setup.read(prompt_mask(setup, painted, grow=4, feather=3)["mask"])
    assert only(client, client.run(setup.graph), read).shape == (1, 112, 152)


def test_a_second_sampler_that_goes_on_keeps_the_first_one_s(client: Client) -> None:
    setup = miniature(client)
    model = setup.capture()

    def stage(latent: Any, start: int, end: int, noise: str, left: str) -> Node:
        return setup.graph.add(
            "KSamplerAdvanced",
            model=model,
            positive=setup.positive,
            negative=setup.negative,
            latent_image=latent,
            add_noise=noise,
            noise_seed=7,
            steps=10,
            cfg=5.0,
            sampler_name="euler",
            scheduler="normal",
            start_at_step=start,
            end_at_step=end,
            return_with_leftover_noise=left,
        )

    first = stage(setup.empty(), 0, 9, "enable", "enable")
    second = stage(first[0], 9, 10000, "disable", "disable")
    reads = [setup.read(prompt_mask(setup, each)["mask"]) for each in (first, second)]
    result = client.run(setup.graph)
    assert torch.equal(*(only(client, result, read) for read in reads))


def test_several_prompts_and_regions(client: Client) -> None:
    """Prompts for the whole picture count together, one for a region is left out."""
    setup = miniature(client)
    region = setup.graph.add(
        "ConditioningSetArea",
        conditioning=setup.text("an owl"),
        width=64,
        height=64,
        x=0,
        y=0,
        strength=1.0,
    )
    both = setup.graph.add(
        "ConditioningCombine", conditioning_1=setup.positive, conditioning_2=region
    )
    model = setup.capture()
    painted = replace(setup, positive=both[0]).sample(model, setup.empty())
    read = setup.read(prompt_mask(setup, painted)["mask"])
    assert 0 < float(only(client, client.run(setup.graph), read).mean()) < 1
    alone = replace(setup, positive=region[0]).sample(model, setup.empty())
    setup.read(prompt_mask(setup, alone)["mask"])
    assert "the positive prompt was applied to regions only" in failure_of(client, setup)


def test_no_guidance_is_told_in_a_sentence(client: Client) -> None:
    setup = miniature(client)
    painted = setup.sample(setup.capture(), setup.empty(), cfg=1.0)
    prompt_mask(setup, painted)
    message = failure_of(client, setup)
    assert "because sampling had no guidance at a timestep from 200 to 800" in message
    assert "\n" not in message.strip()


def test_a_latent_of_another_sampler_is_told_in_a_sentence(client: Client) -> None:
    setup = miniature(client)
    prompt_mask(setup, setup.sample(setup.model, setup.empty(), seed=977))
    assert "no sampler returned these very latents" in failure_of(client, setup)
