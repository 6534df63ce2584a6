"""What runs again after a change, and that features are never those of another run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from .client import Client, Result
from .conftest import HOSTS, Start
from .graph import Node
from .hosts import NO_HOST
from .workflows import Setup, miniature, report_of

FLAGS = {"default": (), "none": ("--cache-none",), "lru": ("--cache-lru", "10")}


@pytest.fixture(scope="module", params=FLAGS)
def caching(request: pytest.FixtureRequest) -> str:
    """The name of one of ComfyUI's ways to keep the outputs of nodes."""
    name: str = request.param
    return name


@pytest.fixture
def client(start: Start, caching: str) -> Iterator[Client]:
    """A user of a server that caches in this way."""
    with contextlib.closing(start(HOSTS[0], *FLAGS[caching]).client()) as client:
        yield client


pytestmark = pytest.mark.skipif(not HOSTS, reason=NO_HOST)


@dataclass(frozen=True, slots=True)
class Workflow:
    """From a prompt to masks."""

    setup: Setup
    sampler: Node
    segment: Node
    masks: Node
    verdicts: Node

    @property
    def of_sampling(self) -> set[str]:
        """Ids of the nodes that hang on what is sampled."""
        return {self.sampler.id, self.verdicts.id, *self.of_phrases}

    @property
    def of_phrases(self) -> set[str]:
        """Ids of the nodes that hang on what is looked for."""
        return {self.segment.id, self.masks.id}


@pytest.fixture
def workflow(client: Client, request: pytest.FixtureRequest) -> Workflow:
    """A workflow that has nothing in common with those of other tests but what it loads."""
    setup = miniature(client, negative=request.node.name)
    oracle = setup.graph.add("LDZTestOracle", model=setup.model, positive=setup.positive)
    captured = setup.capture(oracle[0])
    sampler = setup.sample(captured, setup.empty(), seed=1)
    segment = setup.segment(captured, sampler)
    masks = setup.read(segment["probabilities"])
    verdicts = setup.graph.add("LDZTestCompareFeatures", samples=sampler)
    return Workflow(setup, sampler, segment, masks, verdicts)


def probabilities(client: Client, workflow: Workflow, result: Result) -> Tensor:
    """The soft masks of all phrases; the features must be those of this very run."""
    assert "captured while sampling" in report_of(result, workflow.segment)
    assert [each["right"] for each in result.outputs[workflow.verdicts.id]["verdicts"]] == [True]
    return torch.cat(client.values(result, workflow.masks))


def expected(caching: str, workflow: Workflow, ids: set[str]) -> set[str]:
    """What is to run: only those nodes, or all of them where nothing is kept."""
    return set(workflow.setup.graph.api()) if caching == "none" else ids


def test_the_same_again_runs_nothing(client: Client, caching: str, workflow: Workflow) -> None:
    first, second = (client.run(workflow.setup.graph) for _ in range(2))
    assert workflow.of_sampling <= first.executed
    assert second.executed == expected(caching, workflow, set())


def test_other_phrases_run_the_segment_node_alone(
    client: Client, caching: str, workflow: Workflow
) -> None:
    graph = workflow.setup.graph
    first = probabilities(client, workflow, client.run(graph))
    for change in (
        {"phrases": "the meadow\nthe car"},
        {"threshold": 0.3},
        {"negative_phrases": "the sky"},
        {"grow": 4},
    ):
        graph.set(workflow.segment, **change)
        result = client.run(graph)
        assert result.executed == expected(caching, workflow, workflow.of_phrases), change
        again = probabilities(client, workflow, result)
        torch.testing.assert_close(again, first.flip(0), atol=1e-5, rtol=0)  # rows are summed apart


def test_another_seed_runs_sampling_and_segment(
    client: Client, caching: str, workflow: Workflow
) -> None:
    graph = workflow.setup.graph
    seen: dict[int, Tensor] = {}
    for seed in (1, 2, 3, 1, 2):
        graph.set(workflow.sampler, seed=seed)
        result = client.run(graph)
        if seed not in seen and seen:
            assert result.executed == expected(caching, workflow, workflow.of_sampling)
        found = probabilities(client, workflow, result)
        assert torch.equal(found, seen.setdefault(seed, found))
    assert not torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])


def test_another_prompt_is_seen(client: Client, workflow: Workflow) -> None:
    graph = workflow.setup.graph
    first = probabilities(client, workflow, client.run(graph))
    other = workflow.setup.text("a yellow sun above a boat on the sea")
    graph.set(workflow.sampler, positive=other)
    graph.set(Node(_oracle_of(workflow), []), positive=other)
    assert not torch.equal(probabilities(client, workflow, client.run(graph)), first)


def test_two_samplers_on_one_model_keep_their_features_apart(
    client: Client, workflow: Workflow
) -> None:
    setup = workflow.setup
    alone = probabilities(client, workflow, client.run(setup.graph))
    captured = setup.capture(setup.model)
    other = setup.sample(captured, setup.empty(), seed=2)
    segment = setup.segment(captured, other)
    masks = setup.read(segment["probabilities"])
    both = client.run(setup.graph)
    assert torch.equal(probabilities(client, workflow, both), alone)
    assert "captured while sampling" in report_of(both, segment)
    assert not torch.equal(torch.cat(client.values(both, masks)), alone)


def test_a_picture_out_of_a_batch_keeps_its_features(client: Client, workflow: Workflow) -> None:
    setup, graph = workflow.setup, workflow.setup.graph
    graph.set(workflow.sampler, latent_image=setup.empty(batch_size=3))
    second = graph.add("LatentFromBatch", samples=workflow.sampler, batch_index=1, length=1)
    twice = graph.add("RepeatLatentBatch", samples=second, amount=2)
    segment = setup.segment(workflow.setup.capture(), twice)
    masks = setup.read(segment["probabilities"])
    result = client.run(graph)
    assert report_of(result, segment).count("captured while sampling") == 2
    of_batch = torch.stack(client.values(result, workflow.masks))  # (phrases, pictures, H, W)
    alone = torch.stack(client.values(result, masks))
    assert torch.equal(alone, of_batch[:, [1, 1]])


def test_a_host_that_forgot_everything_starts_over(
    client: Client, caching: str, workflow: Workflow
) -> None:
    if caching == "none":
        pytest.skip("there is nothing to forget with --cache-none")
    graph = workflow.setup.graph
    first = probabilities(client, workflow, client.run(graph))
    client.free()
    nothing = client.graph()
    nothing.add("LDZTestRead", value=nothing.add("LDZTestRegion"))
    client.run(nothing)  # the host forgets before or after it, but not later
    result = client.run(graph)
    assert result.executed == set(graph.api())
    assert torch.equal(probabilities(client, workflow, result), first)


def _oracle_of(workflow: Workflow) -> str:
    graph = workflow.setup.graph.api()
    return next(key for key, node in graph.items() if node["class_type"] == "LDZTestOracle")
