"""Masks without a trained head in real hosts: probed, captured while sampling, and of SDXL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from .client import Client, Result
from .graph import Node
from .rig import Server, found_inside
from .workflows import Setup, miniature, report_of

HEARD = "features: attention captured while sampling at t = "
PROBED = "features: attention from one extra pass (probe) at t = 100"
NOT_TOLD = "LD-ZNet Capture did not listen for attention (connect this head to it)"

THERE, ABSENT = "red car", "turtle"
CLEAN = {"steps": 20, "sampler_name": "dpmpp_2m_sde", "scheduler": "karras"}
"""Settings with which the miniature paints clean pictures."""


def free(client: Client) -> Setup:
    """Begin a graph with the miniature and no head."""
    setup = miniature(client)
    return replace(setup, head=setup.graph.add("LDZNetLoadHead", head_name="training-free")[0])


def listened(setup: Setup, model: Any = None) -> Any:
    """The model after LDZNetCapture with attention."""
    given = setup.model if model is None else model
    return setup.graph.add("LDZNetCapture", model=given, attention=True)[0]


def masks_of(client: Client, result: Result, read: Node) -> list[Tensor]:
    found: list[Tensor] = client.values(result, read)
    return found


def hooks(client: Client) -> Any:
    return client.get_json("/ldztest/state")["hooks"]


def test_a_sampled_picture_stays_the_same_and_its_masks_are_read_off_it(
    every_client: Client,
) -> None:
    client, setup = every_client, free(every_client)
    painted = [
        setup.sample(model, setup.empty(), **CLEAN)
        for model in (setup.model, setup.capture(), listened(setup))
    ]
    latents = [setup.read(each) for each in painted]
    phrases = f"{THERE}\n{ABSENT}"
    heard = setup.segment(setup.model, painted[2], phrases=phrases)
    probed = setup.segment(setup.model, painted[2], phrases=phrases, source="probe")
    reads = [setup.read(each["masks"]) for each in (heard, probed)]
    trained = setup.graph.add("LDZNetLoadHead", head_name="miniature")[0]
    by_head = replace(setup, head=trained).segment(setup.model, painted[2], phrases=THERE)
    told = setup.read(by_head["mask"])
    result = client.run(setup.graph)
    plain, *others = (client.values(result, each)[0] for each in latents)
    assert all(torch.equal(plain, each) for each in others)
    assert report_of(result, heard).splitlines()[-1].startswith(HEARD)
    assert report_of(result, probed).splitlines()[-1] == PROBED
    (truth,) = masks_of(client, result, told)
    for read in reads:
        there, absent = masks_of(client, result, read)
        both = torch.minimum(there, truth).sum() / torch.maximum(there, truth).sum()
        assert float(both) > 0.5
        assert float(absent.sum()) == 0
    assert hooks(client) == []


def test_a_picture_from_elsewhere_is_probed(client: Client) -> None:
    setup = free(client)
    sampled = setup.sample(setup.model, setup.empty(), **CLEAN)
    picture = setup.graph.add("VAEDecode", samples=sampled, vae=setup.vae)
    looked = setup.segment_image(picture, phrases=f"{THERE}\n{ABSENT}")
    read = setup.read(looked["scores"])
    result = client.run(setup.graph)
    there, absent = client.values(result, read)
    assert there > 0.5 > absent
    assert report_of(result, looked).splitlines()[-1] == PROBED


@pytest.mark.parametrize("source", ["auto", "sampling"])
def test_capture_that_was_not_told_is_told_of(client: Client, source: str) -> None:
    setup = free(client)
    model = setup.capture()
    segment = setup.segment(model, setup.sample(model, setup.empty()), source=source)
    result = client.run(setup.graph, may_fail=True)
    if source == "auto":
        assert report_of(result, segment).splitlines()[-1] == f"{PROBED}, because {NOT_TOLD}"
    else:
        assert result.failure is not None
        assert NOT_TOLD in result.failure.message
        assert "\n" not in result.failure.message


def test_roles_batches_and_split_passes(client: Client) -> None:
    """With the host short of memory the prompt has passes of its own; its rows are the same."""
    setup = free(client)
    hungry = setup.graph.add("LDZTestHungry", model=listened(setup))[0]
    answers = []
    for model in (listened(setup), hungry):
        painted = setup.sample(model, setup.empty(batch_size=2))
        answers.append(setup.segment(model, painted, phrases=THERE))
    reads = [setup.read(each["probabilities"]) for each in answers]
    result = client.run(setup.graph)
    whole, split = (masks_of(client, result, each)[0] for each in reads)
    assert whole.shape == (2, 128, 128)
    torch.testing.assert_close(whole, split, atol=2e-2, rtol=0)
    assert not torch.equal(whole[0], whole[1])
    assert all(report_of(result, each).count(HEARD) == 2 for each in answers)


def test_a_picture_whose_sides_a_probe_would_pad_is_read_as_it_was_sampled(client: Client) -> None:
    setup = free(client)
    model = listened(setup)
    segment = setup.segment(model, setup.sample(model, setup.empty(152, 112)), phrases=THERE)
    read = setup.read(segment["mask"])
    result = client.run(setup.graph)
    assert report_of(result, segment).splitlines()[-1].startswith(HEARD)
    assert client.values(result, read)[0].shape == (1, 112, 152)


def test_tiles_inside_the_unet_are_told_of_and_the_picture_is_as_ever(client: Client) -> None:
    setup = free(client)
    tiles = {"tile_size": 64, "swap_size": 1, "max_depth": 3, "scale_depth": False}
    tiled = setup.graph.add("HyperTile", model=setup.model, **tiles)[0]
    latent = setup.empty(256, 256)
    plain = setup.read(setup.sample(tiled, latent))
    painted = setup.sample(listened(setup, tiled), latent)
    read = setup.read(painted)
    result = client.run(setup.graph)
    assert torch.equal(*(client.values(result, each)[0] for each in (plain, read)))
    segment = setup.segment(setup.model, painted, phrases=THERE)
    assert "such as HyperTile" in report_of(client.run(setup.graph), segment)


def test_an_error_in_the_unet_leaves_nothing(client: Client) -> None:
    setup = free(client)
    failing = setup.graph.add("LDZTestFailInUNet", model=listened(setup), at_pass=4)[0]
    setup.read(setup.sample(failing, setup.empty(), seed=31))
    before = client.get_json("/ldztest/state")["bank"]
    failure = client.run(setup.graph, may_fail=True).failure
    assert failure is not None
    assert "failed on purpose" in failure.message
    state = client.get_json("/ldztest/state")
    assert (state["hooks"], state["bank"]) == ([], before)


def test_sdxl_is_refused_to_trained_heads_and_told_what_to_do(client: Client) -> None:
    graph = client.graph()
    foreign = graph.add("LDZTestForeignModel", family="sdxl")
    head = graph.add("LDZNetLoadHead", head_name="miniature")[0]
    graph.add("LDZTestRead", value=graph.add("LDZNetCapture", model=foreign, head=head))
    failure = client.run(graph, may_fail=True).failure
    assert failure is not None
    assert "got one of SDXL: choose the head auto or training-free, and connect" in failure.message


@pytest.mark.slow
def test_a_small_sdxl_of_the_host_s_own_classes_goes_the_whole_way(server: Server) -> None:
    """In a process of its own: UNet, encoders and tokenizers are ComfyUI's, the weights random."""
    found = found_inside(server.host, "small_sdxl.py")
    assert found["identical"]
    assert found["counts"] == [4, 2]
    assert found["places"] == 9
    assert found["timestep"] == 105.0
    assert found["captured"] == found["probed"] == [[2, 192, 256], True]
    assert found["full_size_mib"] <= 64
    assert found["hooks"] == 0
    assert found["alone"] == [0, True]
    assert (found["edm_scaled"], found["edm_difference"]) == (True, True)
    assert 0 <= found["edm_timestep"] <= 300
    assert found["edm_captured"] == found["edm_probed"] == [[2, 192, 256], True]
