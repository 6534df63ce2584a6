"""The example workflows as users run them, and what the host hands to its front end besides."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import torch
from PIL import Image
from torch import Tensor

from ldznet_core.world import Scene, draw_layout, mask_of, render

from .client import Client, Result
from .graph import Graph, Node
from .hosts import PROJECT, find_hosts
from .rig import PACK
from .workflows import report_of

EXAMPLES = sorted((PROJECT / "example_workflows").glob("*.json"))
FRONT_ENDS_OWN = ("MarkdownNote",)
"""Nodes that the host never sees."""
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
TURTLE_IN_A_MEADOW = 158
SD1_CHECKPOINT = "v1-5-pruned-emaonly.safetensors"


@dataclass(frozen=True, slots=True)
class Example:
    """A saved workflow as a graph that can be queued."""

    graph: Graph
    nodes: list[tuple[str, Node]]
    """Each with its class, in the order of the saved ids."""

    def all(self, kind: str) -> list[Node]:
        """The nodes of a class."""
        return [node for found, node in self.nodes if found == kind]

    def one(self, kind: str) -> Node:
        """The only node of a class."""
        (node,) = self.all(kind)
        return node

    def read(self, output: Any) -> Node:
        """A node that brings a value out of the host."""
        return self.graph.add("LDZTestRead", value=output)


def example(client: Client, number: int) -> Example:
    """Turn a saved workflow into the API's form, as the front end does when it queues."""
    (path,) = [path for path in EXAMPLES if path.stem.startswith(f"{number} ")]
    workflow = json.loads(path.read_text(encoding="utf-8"))
    saved = {node["id"]: node for node in workflow["nodes"] if node["type"] not in FRONT_ENDS_OWN}
    graph, info = client.graph(), client.object_info()
    nodes = {
        key: graph.add(node["type"], **_values(info[node["type"]], node))
        for key, node in saved.items()
    }
    for _, source, from_slot, target, to_slot, kind in workflow["links"]:
        assert info[saved[source]["type"]]["output"][from_slot] == kind
        name = saved[target]["inputs"][to_slot]["name"]
        graph.set(nodes[target], **{name: nodes[source][from_slot]})
    return Example(graph, [(saved[key]["type"], node) for key, node in nodes.items()])


def _values(info: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The widgets' values by name; the front end saves them as a list, with two of its own."""
    values = iter(node["widgets_values"])
    found = {}
    for name, (kind, *rest) in _inputs(info).items():
        if not isinstance(kind, list) and kind not in WIDGETS:
            continue
        options = rest[0] if rest else {}
        found[name] = next(values)
        if options.get("control_after_generate"):
            assert next(values) == "fixed"
        if options.get("image_upload"):
            assert next(values) == "image"
    assert list(values) == []
    return found


def _inputs(info: dict[str, Any]) -> dict[str, Any]:
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def pictures(client: Client, result: Result, node: Node) -> list[Image.Image]:
    """What a node shows."""
    return [client.image(file) for file in result.outputs[node.id]["images"]]


def only(client: Client, result: Result, node: Node) -> Tensor:
    """The single value that a reading node has read."""
    (value,) = client.values(result, node)
    assert isinstance(value, Tensor)
    return value


def area(mask: Tensor) -> float:
    """The part of the picture that a mask covers."""
    return float((mask > 0.5).float().mean())


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A turtle in a meadow."""
    return render(draw_layout("small", "iid", TURTLE_IN_A_MEADOW), 256)


class TestEveryExample:
    @pytest.mark.parametrize("number", range(1, 7))
    def test_has_only_nodes_and_widgets_that_the_host_knows(
        self, every_client: Client, number: int
    ) -> None:
        assert example(every_client, number).nodes


def test_masks_and_inpaint(client: Client) -> None:
    given = example(client, 1)
    named, covered = given.all("LDZNetSegment")
    first, again = given.all("VAEDecode")
    joined = given.one("ImageCompositeMasked")
    reading = [given.read(each) for each in (first[0], again[0], joined[0], covered["mask"])]
    result = client.run(given.graph)

    assert report_of(result, named).splitlines() == [
        *(_line(result, named, phrase, "found") for phrase in ("red car", "sky", "grass")),
        _line(result, named, "owl", "not there"),
        "features: captured while sampling at t = 123",
    ]
    assert _line(result, covered, "red car", "found")

    shown, each_mask = given.all("PreviewImage")
    masks = [picture.convert("L").getextrema() for picture in pictures(client, result, each_mask)]
    assert masks == [(0, 255), (0, 255), (0, 255), (0, 0)]

    before, painted_over, after, mask = (only(client, result, each)[0] for each in reading)
    outside = mask == 0
    assert 0.3 < float(outside.float().mean()) < 0.9
    assert bool(((mask > 0) & (mask < 1)).any())  # it is feathered
    assert torch.equal(after[outside], before[outside])
    assert torch.equal(after[mask == 1], painted_over[mask == 1])
    assert float((after - before)[mask == 1].abs().mean()) > 0.1

    (picture,), (saved,) = (
        pictures(client, result, each) for each in (shown, given.one("SaveImage"))
    )
    assert picture.size == saved.size == (128, 128)
    assert torch.equal(_pixels(saved)[outside], _pixels(picture)[outside])


def _line(result: Result, segment: Node, phrase: str, verdict: str) -> str:
    """The report's line on a phrase, of which the score may differ between machines."""
    start = f"{phrase}: {verdict}, score "
    (line,) = [x for x in report_of(result, segment).splitlines() if x.startswith(start)]
    return line


def _pixels(picture: Image.Image) -> Tensor:
    data = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return data.view(picture.height, picture.width, 3)


def test_the_same_for_sd1_lacks_but_a_checkpoint(every_client: Client) -> None:
    given = example(every_client, 2)
    result = every_client.run(given.graph, may_fail=True)
    assert result.failure is not None
    assert result.failure.kind == "rejected"
    lacking = re.findall(r"Value not in list: \w+: '([^']+)' not in", result.failure.message)
    assert result.failure.message.count(";") == len(lacking) - 1  # no other complaint
    assert lacking == [SD1_CHECKPOINT]


def test_a_loaded_picture(client: Client, scene: Scene) -> None:
    given = example(client, 3)
    name = client.upload(Image.fromarray(scene.image), "turtle.png")
    given.graph.set(given.one("LoadImage"), image=name)
    segment = given.one("LDZNetSegmentImage")
    reading = given.read(segment["masks"])
    result = client.run(given.graph)

    assert report_of(result, segment).splitlines() == [
        _line(result, segment, "sky", "found"),
        _line(result, segment, "grass", "found"),
        _line(result, segment, "red car", "not there"),
        "features: from one extra pass (probe) at t = 400",
    ]
    names = [region.name for region in scene.regions]
    masks = client.values(result, reading)
    for phrase, mask in zip(("sky", "grass"), masks, strict=False):
        there = torch.from_numpy(mask_of(scene.labels, [names.index(phrase)]))
        found = mask[0] > 0.5
        assert float((found & there).sum()) / float((found | there).sum()) > 0.8, phrase

    _, rest = given.all("PreviewImage")
    (cut,) = pictures(client, result, rest)
    opaque = torch.frombuffer(bytearray(cut.getchannel("A").tobytes()), dtype=torch.uint8) > 127
    turtle = torch.from_numpy(mask_of(scene.labels, [names.index("turtle")])).flatten()
    assert float(opaque[turtle].float().mean()) > 0.8
    assert float(opaque[~turtle].float().mean()) < 0.2


def test_a_loaded_picture_is_first_the_one_that_the_host_brings(client: Client) -> None:
    given = example(client, 3)
    brought = find_hosts()[0].folder / "input" / "example.png"
    assert client.upload(Image.open(brought), brought.name) == "example.png"
    segment = given.one("LDZNetSegmentImage")
    result = client.run(given.graph)
    assert report_of(result, segment).splitlines()[:3] == [
        _line(result, segment, "sky", "found"),
        _line(result, segment, "grass", "found"),
        _line(result, segment, "red car", "not there"),
    ]


def test_several_phrases_and_negatives(client: Client) -> None:
    given = example(client, 4)
    plain, less = given.all("LDZNetSegment")
    reading = [given.read(each["masks"]) for each in (plain, less)]
    result = client.run(given.graph)
    both, one = (client.values(result, each) for each in reading)
    assert len(both) == len(one) == 4
    apples, green_apple = both[0][0] > 0.5, one[0][0] > 0.5
    assert not bool((green_apple & ~apples).any())
    assert 0.4 * area(apples) < area(green_apple) < 0.8 * area(apples)
    assert [area(mask) for mask in (both[3], one[3])] == [0, 0]
    for segment in (plain, less):
        assert _line(result, segment, "owl", "not there")
        assert "captured while sampling" in report_of(result, segment)


def test_pieces_of_a_mask_and_the_whole_prompt(client: Client) -> None:
    given = example(client, 6)
    split, about = given.one("LDZNetSplitMask"), given.one("LDZNetPromptMask")
    reading = [given.read(split[name]) for name in ("masks", "count")]
    picture, whole = (given.read(each) for each in (given.one("VAEDecode")[0], about["mask"]))
    result = client.run(given.graph)

    assert client.values(result, reading[1]) == [2]
    left, right = (mask[0] > 0.5 for mask in client.values(result, reading[0]))
    assert not (left & right).any()
    red, green, _ = only(client, result, picture)[0].movedim(-1, 0)
    assert float((red - green)[left].mean()) > 0.2
    assert float((green - red)[right].mean()) > 0.2
    asked_for = only(client, result, whole)[0] > 0.5
    assert float(asked_for[left | right].float().mean()) > 1.5 * float(asked_for.float().mean())


def test_two_passes_find_each_its_own_features(client: Client) -> None:
    given = example(client, 5)
    segments = given.all("LDZNetSegment")
    reading = [given.read(each["mask"]) for each in segments]
    result = client.run(given.graph)
    for segment, read, side in zip(segments, reading, (128, 192), strict=True):
        assert only(client, result, read).shape == (1, side, side)
        assert "features: captured while sampling at t = " in report_of(result, segment)
        assert _line(result, segment, "red car", "found")
        assert _line(result, segment, "owl", "not there")
    ends = {report_of(result, segment).splitlines()[-1] for segment in segments}
    assert len(ends) == 2  # they name their own timesteps


class TestFrontEnd:
    def test_gets_the_examples_with_their_pictures(self, every_client: Client) -> None:
        listed = every_client.get_json("/workflow_templates")
        assert sorted(listed[PACK]) == [path.stem for path in EXAMPLES]
        for path in _files("example_workflows", ".json", ".jpg"):
            address = f"/api/workflow_templates/{PACK}/{quote(path.name)}"
            assert every_client.get(address) == path.read_bytes()

    def test_gets_the_report_and_the_help_pages(self, every_client: Client) -> None:
        assert f"/extensions/{PACK}/report.js" in every_client.get_json("/extensions")
        for path in _files("web", ".js", ".md"):
            name = path.relative_to(PROJECT / "web").as_posix()
            assert every_client.get(f"/extensions/{PACK}/{name}") == path.read_bytes()

    @pytest.mark.parametrize("language", ["en", "ko"])
    def test_gets_the_translations(self, every_client: Client, language: str) -> None:
        path = PROJECT / "locales" / language / "nodeDefs.json"
        given = every_client.get_json("/i18n")[language]["nodeDefs"]
        own = json.loads(path.read_text(encoding="utf-8"))
        assert {name: given[name] for name in own} == own

    def test_english_says_what_the_nodes_say(self, every_client: Client) -> None:
        english = every_client.get_json("/i18n")["en"]["nodeDefs"]
        for name, said in english.items():
            info = every_client.object_info()[name]
            assert (said["display_name"], said["description"]) == (
                info["display_name"],
                info["description"],
            )
            assert said.get("inputs", {}) == {
                key: {"name": key, "tooltip": options["tooltip"]}
                for key, (_, options) in _inputs(info).items()
            }
            outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
            assert said["outputs"] == {
                str(index): {"name": key, "tooltip": tooltip}
                for index, (key, tooltip) in enumerate(outputs)
            }


def _files(folder: str, *endings: str) -> Iterator[Path]:
    return (path for path in (PROJECT / folder).rglob("*") if path.suffix in endings)
