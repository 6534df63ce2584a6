"""What users of the nodes read: names, tooltips, help pages, example workflows. Needs no host."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "ko")
SEGMENTING = ("LDZNetSegment", "LDZNetSegmentImage")
THUMBNAIL_BYTES = 100_000
OPTIONAL = 7  # the shape of a slot that may stay loose
TITLE_HEIGHT = 30

Words = dict[str, Any]
Box = tuple[float, float, float, float]


def words(language: str) -> Words:
    path = ROOT / "locales" / language / "nodeDefs.json"
    found: Words = json.loads(path.read_text(encoding="utf-8"))
    return found


def literals(*folders: str) -> set[str]:
    """Every string that the code spells out; of one with values in it, the parts between them."""
    return {
        node.value
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text of a locale, with the keys that lead to it."""
    if isinstance(tree, str):
        yield path, tree
        return
    for key, branch in tree.items():
        yield from leaves(branch, (*path, key))


def node_ids() -> set[str]:
    """The ids that the nodes' schemas name."""
    return {
        keyword.value.value
        for path in (ROOT / "nodes").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "node_id" and isinstance(keyword.value, ast.Constant)
    }


NODES = sorted(node_ids())
EXAMPLES = sorted((ROOT / "example_workflows").glob("*.json"))
by_example = pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem[0] for path in EXAMPLES])


class TestLocales:
    def test_there_are_nodes(self) -> None:
        assert len(NODES) == 8

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_each_names_every_node(self, language: str) -> None:
        assert sorted(words(language)) == NODES

    def test_all_have_the_same_entries(self) -> None:
        english, korean = ([keys for keys, _ in leaves(words(each))] for each in LANGUAGES)
        assert english == korean

    def test_english_is_what_the_nodes_say(self) -> None:
        said = literals("nodes")
        assert [text for _, text in leaves(words("en")) if text not in said] == []

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_each_input_and_output_has_a_name_and_a_tooltip(self, language: str) -> None:
        slots = [
            slot
            for node in words(language).values()
            for slot in (*node.get("inputs", {}).values(), *node["outputs"].values())
        ]
        assert slots
        assert all(set(slot) == {"name", "tooltip"} and all(slot.values()) for slot in slots)

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_no_text_has_signs_that_the_front_end_would_interpret(self, language: str) -> None:
        # vue-i18n: {placeholders}, @:links and plural | forms
        assert [text for _, text in leaves(words(language)) if set(text) & set("{}@|")] == []

    def test_korean_is_korean(self) -> None:
        said = [text for keys, text in leaves(words("ko")) if keys[-1] != "name"]
        assert [text for text in said if not re.search("[가-힣]", text)] == []


class TestHelp:
    @pytest.mark.parametrize("language", LANGUAGES)
    @pytest.mark.parametrize("node", NODES)
    def test_is_headed_by_the_nodes_name(self, node: str, language: str) -> None:
        first = page(node, language).partition("\n")[0]
        assert first == "# " + words(language)[node]["display_name"]

    @pytest.mark.parametrize("language", LANGUAGES)
    @pytest.mark.parametrize("node", NODES)
    def test_lists_just_the_inputs_and_outputs_in_their_order(
        self, node: str, language: str
    ) -> None:
        english, own = words("en")[node], words(language)[node]
        slots = [*english.get("inputs", {}).items(), *english["outputs"].items()]
        shown = [*own.get("inputs", {}).values(), *own["outputs"].values()]
        assert listed(page(node, language), language) == [
            (slot["name"], mine["name"]) for (_, slot), mine in zip(slots, shown, strict=True)
        ]

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_quotes_messages_that_exist(self, language: str) -> None:
        said = literals("nodes", "ldznet_core")
        quoted = {
            re.split(r"[…'\d]", quote)[0].strip()
            for node in NODES
            for quote in re.findall(r'\*"(.+?)"\*|^  - \*(.+?)\*', page(node, language), re.M)
            for quote in quote
            if quote
        }
        assert quoted
        assert [quote for quote in quoted if not any(quote in text for text in said)] == []

    def test_has_no_page_without_a_node(self) -> None:
        folder = ROOT / "web" / "docs"
        pages = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
        assert pages == {f"{node}{end}" for node in NODES for end in (".md", "/ko.md")}


class TestWeb:
    def test_the_report_is_shown_where_there_is_one(self) -> None:
        script = (ROOT / "web" / "report.js").read_text(encoding="utf-8")
        reporting = [
            node
            for node, said in words("en").items()
            if "report" in (output["name"] for output in said["outputs"].values())
        ]
        assert re.findall(r'"(LDZNet\w+)"', script) == reporting == list(SEGMENTING)

    def test_comfyui_is_told_where_the_pages_are(self) -> None:
        door = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
        values = [
            node.value.value
            for node in door.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and [target.id for target in node.targets if isinstance(target, ast.Name)]
            == ["WEB_DIRECTORY"]
        ]
        assert values == ["./web"]


class TestExamples:
    def test_there_are_six(self) -> None:
        assert [path.stem[:2] for path in EXAMPLES] == ["1 ", "2 ", "3 ", "4 ", "5 ", "6 "]

    @by_example
    def test_has_a_small_picture_of_the_same_name(self, path: Path) -> None:
        picture = path.with_suffix(".jpg")
        assert picture.read_bytes()[:3] == b"\xff\xd8\xff"
        assert picture.stat().st_size <= THUMBNAIL_BYTES

    @by_example
    def test_is_of_the_form_that_the_front_end_saves(self, path: Path) -> None:
        workflow = load(path)
        assert workflow["version"] == 0.4
        numbers = [node["id"] for node in workflow["nodes"]]
        assert numbers == list(range(1, workflow["last_node_id"] + 1))
        assert [link[0] for link in workflow["links"]] == list(
            range(1, workflow["last_link_id"] + 1)
        )

    @by_example
    def test_its_links_and_slots_agree(self, path: Path) -> None:
        workflow = load(path)
        nodes = {node["id"]: node for node in workflow["nodes"]}
        for number, source, from_slot, target, to_slot, kind in workflow["links"]:
            output = nodes[source]["outputs"][from_slot]
            wanted = nodes[target]["inputs"][to_slot]
            assert number in output["links"]
            assert wanted["link"] == number
            assert wanted["type"] in (kind, "*")
            assert output["type"] == kind
        slots = [slot for node in nodes.values() for slot in node["inputs"]]
        assert sum(slot["link"] is not None for slot in slots) == len(workflow["links"])

    @by_example
    def test_every_socket_that_must_be_connected_is(self, path: Path) -> None:
        loose = [
            (node["type"], slot["name"])
            for node in load(path)["nodes"]
            for slot in node["inputs"]
            if slot["link"] is None and "widget" not in slot and slot.get("shape") != OPTIONAL
        ]
        assert loose == []

    @by_example
    def test_our_nodes_are_as_they_are_now(self, path: Path) -> None:
        english = words("en")
        ours = [node for node in load(path)["nodes"] if node["type"] in english]
        assert ours
        for node in ours:
            said = english[node["type"]]
            inputs = [slot["name"] for slot in node["inputs"]]
            assert sorted(inputs) == sorted(said.get("inputs", {}))
            outputs = [slot["name"] for slot in node["outputs"]]
            assert outputs == [slot["name"] for slot in said["outputs"].values()]
            widgets = [slot for slot in node["inputs"] if "widget" in slot]
            assert len(node["widgets_values"]) == len(widgets)

    @by_example
    def test_nothing_lies_on_anything_else(self, path: Path) -> None:
        workflow = load(path)
        boxes = [box_of(node) for node in workflow["nodes"]]
        frames = [frame_of(group) for group in workflow["groups"]]
        assert not any(overlap(a, b) for a, b in combinations(boxes, 2))
        assert not any(overlap(a, b) for a, b in combinations(frames, 2))

    @by_example
    def test_every_node_is_in_a_group(self, path: Path) -> None:
        workflow = load(path)
        frames = [frame_of(group) for group in workflow["groups"]]
        outside = [
            node["type"]
            for node in workflow["nodes"]
            if not any(within(box_of(node), frame) for frame in frames)
        ]
        assert outside == []

    @by_example
    def test_says_what_to_do(self, path: Path) -> None:
        notes = [node for node in load(path)["nodes"] if node["type"] == "MarkdownNote"]
        (text,) = notes[0]["widgets_values"]
        assert len(notes) == 1
        assert "**Run**" in text


def page(node: str, language: str) -> str:
    """A help page, where the front end looks for it."""
    name = f"{node}.md" if language == "en" else f"{node}/{language}.md"
    return (ROOT / "web" / "docs" / name).read_text(encoding="utf-8")


def listed(text: str, language: str) -> list[tuple[str, str]]:
    """The inputs and outputs that a page lists: each by its id, and by its name in the language."""
    if language == "en":
        return [(name, name) for name in re.findall(r"^- `(\w+)` \(", text, re.M)]
    found = re.findall(r"^- \*\*(.+?)\*\* \((?:`(\w+)`, )?", text, re.M)
    return [(identity or name, name) for name, identity in found]


def load(path: Path) -> dict[str, Any]:
    workflow: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return workflow


def box_of(node: dict[str, Any]) -> Box:
    """A node's left, top, right and bottom, with its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE_HEIGHT, x + width, y + height


def frame_of(group: dict[str, Any]) -> Box:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def within(inner: Box, outer: Box) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )
