"""After whatever goes wrong no hook is left, the next run is right, and memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from .client import Client, Failure
from .graph import Node
from .workflows import Setup, miniature, report_of

MIB = 2**20


def state(client: Client) -> dict[str, Any]:
    """What the server's process holds."""
    found: dict[str, Any] = client.get_json("/ldztest/state")
    return found


@dataclass(frozen=True, slots=True)
class Workflow:
    """A captured run, masks of it, and the same run without capture."""

    setup: Setup
    sampler: Node
    segment: Node
    latent: Node
    plain: Node

    def is_right(self, client: Client) -> bool:
        """Run it; tell whether the picture is that without capture, and the masks its own."""
        result = client.run(self.setup.graph)
        (latent,), (plain,) = (client.values(result, each) for each in (self.latent, self.plain))
        heard = "captured while sampling" in report_of(result, self.segment)
        return heard and torch.equal(latent, plain)


def workflow(client: Client, patch: Callable[[Setup], Any] | None = None) -> Workflow:
    setup = miniature(client)
    model = setup.model if patch is None else patch(setup)
    captured = setup.capture(model)
    sampler = setup.sample(captured, setup.empty(), seed=3)
    plain = setup.read(setup.sample(setup.model, setup.empty(), seed=3))
    segment = setup.segment(captured, sampler)
    return Workflow(setup, sampler, segment, setup.read(sampler), plain)


def interrupt_at(client: Client, graph: Any, node: Node, step: int) -> Failure:
    """Run, interrupt when a node has come that far, and return how the run ended."""
    is_interrupted = False

    def interrupt(at: str, done: int, of: int) -> None:
        nonlocal is_interrupted
        if at == node.id and done >= step and not is_interrupted:
            is_interrupted = True
            client.interrupt()

    failure = client.run(graph, on_progress=interrupt, may_fail=True).failure
    assert failure is not None, "the run ended before it was interrupted"
    return failure


class TestInterrupt:
    # of 150 steps, those from about 75 to 105 are at the timesteps that are listened to
    @pytest.mark.parametrize("step", [10, 82])
    def test_in_the_middle_of_sampling(self, every_client: Client, step: int) -> None:
        client = every_client
        setup = miniature(client)
        captured = setup.capture()
        sampler = setup.sample(captured, setup.empty(), seed=99 + step, steps=150)
        setup.read(sampler)
        before = state(client)["bank"]
        assert interrupt_at(client, setup.graph, sampler, step).kind == "interrupted"
        after = state(client)
        assert after["hooks"] == []
        assert after["bank"] == before  # nothing is kept of a run that did not end
        assert workflow(client).is_right(client)

    def test_in_the_middle_of_segmenting(self, client: Client) -> None:
        setup = miniature(client)
        image = setup.graph.add("LDZTestDot", batch_size=60)
        segment = setup.segment_image(image, phrases="a car\na boat\na ball\na tree")
        failure = interrupt_at(client, setup.graph, segment, 1)
        assert (failure.kind, failure.node) == ("interrupted", segment.id)
        assert state(client)["hooks"] == []
        assert workflow(client).is_right(client)


class TestExceptions:
    # of 8 steps, the fifth is at the only timestep that is listened to
    @pytest.mark.parametrize("at_pass", [2, 5])
    def test_inside_the_unet(self, client: Client, at_pass: int) -> None:
        def patch(setup: Setup) -> Any:
            return setup.graph.add("LDZTestFailInUNet", model=setup.model, at_pass=at_pass)[0]

        failing = workflow(client, patch)
        before = state(client)["bank"]
        failure = client.run(failing.setup.graph, may_fail=True).failure
        assert failure is not None
        assert (failure.node, failure.message) == (failing.sampler.id, "failed on purpose")
        after = state(client)
        assert after["hooks"] == []
        assert after["bank"] == before
        assert failing.is_right(client)  # the very same graph again, which fails only once

    def test_inside_the_unet_while_it_is_probed(self, client: Client) -> None:
        setup = miniature(client)
        failing = setup.graph.add("LDZTestFailInUNet", model=setup.model, at_pass=1)
        segment = setup.segment(failing[0], setup.empty(), source="probe")
        failure = client.run(setup.graph, may_fail=True).failure
        assert failure is not None
        assert (failure.node, failure.message) == (segment.id, "failed on purpose")
        assert state(client)["hooks"] == []
        assert "probe" in report_of(client.run(setup.graph), segment)

    def test_in_another_node(self, client: Client) -> None:
        good = workflow(client)
        setup = good.setup
        setup.read(setup.graph.add("LDZTestFail", value=good.sampler))
        failure = client.run(setup.graph, may_fail=True).failure
        assert failure is not None
        assert failure.message == "failed on purpose"
        assert state(client)["hooks"] == []
        assert workflow(client).is_right(client)


class TestCaptureTakenOut:
    def test_leaves_nothing_on_the_model(self, every_client: Client) -> None:
        client = every_client
        setup = miniature(client)
        captured = setup.capture()
        sampler = setup.sample(captured, setup.empty(), seed=11)
        latent = setup.read(sampler)
        named = setup.graph.add("LDZTestWrappers", model=captured)
        first = client.run(setup.graph)
        assert first.outputs[named.id]["wrappers"] == [
            "apply_model/ldznet x 1",
            "outer_sample/ldznet x 1",
        ]
        entries = state(client)["bank"]["entries"]
        setup.graph.remove(Node(captured.node, []))
        setup.graph.set(sampler, model=setup.model)
        setup.graph.set(named, model=setup.model)
        second = client.run(setup.graph)
        assert second.has_run(sampler)
        assert second.outputs[named.id].get("wrappers", []) == []
        assert torch.equal(client.values(second, latent)[0], client.values(first, latent)[0])
        assert state(client)["hooks"] == []
        assert state(client)["bank"]["entries"] == entries

    def test_twice_in_a_row_is_as_once(self, client: Client) -> None:
        setup = miniature(client)
        twice = setup.capture(setup.capture())
        sampler = setup.sample(twice, setup.empty(), seed=12)
        segment = setup.segment(twice, sampler)
        named = setup.graph.add("LDZTestWrappers", model=twice)
        result = client.run(setup.graph)
        assert len(result.outputs[named.id]["wrappers"]) == 2
        assert all(name.endswith("x 1") for name in result.outputs[named.id]["wrappers"])
        assert "captured while sampling" in report_of(result, segment)


class TestMemory:
    RUNS_PER_PROMPT = 10
    PROMPTS = 20

    @pytest.fixture
    def small_bank(self, client: Client) -> Iterator[int]:
        """The bank's bound, lowered so that 200 small pictures are too many for it."""
        usual = state(client)["bank"]["limit"]
        yield client.get_json("/ldztest/limit", bytes=str(MIB // 2))["limit"]
        client.get("/ldztest/limit", bytes=str(usual))

    def test_the_usual_bound(self, client: Client) -> None:
        bank = state(client)["bank"]
        assert bank["limit"] == 256 * MIB
        assert 0 <= bank["used"] <= bank["limit"]

    @pytest.mark.slow
    def test_two_hundred_runs_stay_within_the_bound(self, client: Client, small_bank: int) -> None:
        resident: list[int] = []
        used: list[int] = []
        for prompt in range(self.PROMPTS):
            self._run(client, prompt)
            now = state(client)
            assert now["hooks"] == []
            assert now["bank"]["used"] <= small_bank
            resident.append(now["resident_bytes"])
            used.append(now["bank"]["used"])
        assert max(used) > 0.9 * small_bank  # the bound was met, not missed
        grown = resident[-1] - resident[self.PROMPTS // 4]
        assert grown < 32 * MIB, [size // MIB for size in resident]

    def _run(self, client: Client, prompt: int) -> None:
        """Ten runs of two steps, one of them at a timestep that is listened to."""
        setup = miniature(client)
        captured = setup.capture()
        latent = setup.empty(width=64, height=64)
        runs = [
            setup.sample(
                captured, latent, seed=1000 + prompt * 100 + run, steps=2, scheduler="sgm_uniform"
            )
            for run in range(self.RUNS_PER_PROMPT)
        ]
        reads = [setup.read(run) for run in runs]
        segment = setup.segment(captured, runs[0])
        result = client.run(setup.graph)
        latents: list[Tensor] = [client.values(result, read)[0] for read in reads]
        assert not torch.equal(latents[0], latents[1])
        assert "captured while sampling" in report_of(result, segment)
