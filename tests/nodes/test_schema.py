"""What the nodes show: the contract of names that saved workflows rely on, and words for users."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import pytest

from .loading import Pack

Sockets = list[tuple[str, str]]

MASKS: Sockets = [
    ("mask", "MASK"),
    ("masks", "MASK list"),
    ("heatmap", "IMAGE"),
    ("scores", "FLOAT list"),
    ("probabilities", "MASK list"),
    ("report", "STRING"),
    ("found", "BOOLEAN list"),
]
INPUTS: dict[str, Sockets] = {
    "LDZNetLoadMiniature": [],
    "LDZNetLoadHead": [("head_name", "COMBO")],
    "LDZNetCapture": [
        ("model", "MODEL"),
        ("attention", "BOOLEAN optional"),
        ("head", "LDZNET_HEAD optional"),
    ],
    "LDZNetSegment": [
        ("head", "LDZNET_HEAD"),
        ("model", "MODEL"),
        ("clip", "CLIP"),
        ("samples", "LATENT"),
        ("phrases", "STRING"),
        ("threshold", "FLOAT"),
        ("source", "COMBO"),
        ("negative_phrases", "STRING optional"),
        ("grow", "INT optional"),
        ("feather", "INT optional"),
        ("keep_absent", "BOOLEAN optional"),
        ("vae", "VAE optional"),
    ],
    "LDZNetSegmentImage": [
        ("head", "LDZNET_HEAD"),
        ("model", "MODEL"),
        ("clip", "CLIP"),
        ("vae", "VAE"),
        ("image", "IMAGE"),
        ("phrases", "STRING"),
        ("threshold", "FLOAT"),
        ("negative_phrases", "STRING optional"),
        ("grow", "INT optional"),
        ("feather", "INT optional"),
        ("keep_absent", "BOOLEAN optional"),
    ],
    "LDZNetPromptMask": [
        ("samples", "LATENT"),
        ("threshold", "FLOAT"),
        ("grow", "INT optional"),
        ("feather", "INT optional"),
    ],
    "LDZNetSnapMask": [("image", "IMAGE"), ("mask", "MASK"), ("band", "INT")],
    "LDZNetSplitMask": [
        ("mask", "MASK"),
        ("least_area", "FLOAT"),
        ("most", "INT"),
        ("order", "COMBO"),
    ],
}
OUTPUTS: dict[str, Sockets] = {
    "LDZNetLoadMiniature": [("model", "MODEL"), ("clip", "CLIP"), ("vae", "VAE")],
    "LDZNetLoadHead": [("head", "LDZNET_HEAD")],
    "LDZNetCapture": [("model", "MODEL")],
    "LDZNetSegment": MASKS,
    "LDZNetSegmentImage": MASKS,
    "LDZNetPromptMask": [("mask", "MASK"), ("heatmap", "IMAGE")],
    "LDZNetSnapMask": [("mask", "MASK")],
    "LDZNetSplitMask": [("mask", "MASK"), ("masks", "MASK list"), ("count", "INT")],
}


@pytest.fixture(scope="module")
def schemas(nodes: dict[str, Any]) -> dict[str, Any]:
    return {name: node.GET_SCHEMA() for name, node in nodes.items()}


@pytest.mark.parametrize("name", INPUTS)
class TestEveryNode:
    def test_has_the_inputs_of_the_contract_in_their_order(
        self, schemas: dict[str, Any], name: str
    ) -> None:
        inputs = [
            (each.id, f"{each.io_type}{' optional' * each.optional}")
            for each in schemas[name].inputs
        ]
        assert inputs == INPUTS[name]

    def test_has_the_outputs_of_the_contract_in_their_order(
        self, schemas: dict[str, Any], name: str
    ) -> None:
        outputs = [
            (each.display_name, f"{each.io_type}{' list' * each.is_output_list}")
            for each in schemas[name].outputs
        ]
        assert outputs == OUTPUTS[name]

    def test_takes_each_input_by_its_name(
        self, nodes: dict[str, Any], schemas: dict[str, Any], name: str
    ) -> None:
        """The host calls `execute` with the ids as keywords; what is optional may be left out."""
        taken = signature(nodes[name].execute).parameters
        assert list(taken) == [each.id for each in schemas[name].inputs]
        for each in schemas[name].inputs:
            default = taken[each.id].default
            assert (default is not taken[each.id].empty) == each.optional
            if each.optional:
                assert default == getattr(each, "default", None)  # wires have none

    def test_has_ids_that_are_used_once(self, schemas: dict[str, Any], name: str) -> None:
        schema = schemas[name]
        ids = Counter(each.id for each in (*schema.inputs, *schema.outputs))
        assert [each for each, count in ids.items() if count > 1] == []

    def test_explains_itself_and_every_socket(self, schemas: dict[str, Any], name: str) -> None:
        schema = schemas[name]
        sentences = [schema.description, *(each.tooltip for each in schema.inputs)]
        sentences += [each.tooltip for each in schema.outputs]
        for sentence in sentences:
            assert sentence
            assert sentence[0].isupper() or sentence.startswith("auto")
            assert sentence.endswith(".")
        assert len(schema.description) > 60

    def test_stands_in_the_menu_under_its_family(self, schemas: dict[str, Any], name: str) -> None:
        schema = schemas[name]
        assert schema.category == "LD-ZNet"
        assert "LD-ZNet" in schema.display_name
        assert schema.node_id == name

    def test_is_run_without_a_consumer_only_if_it_shows_something(
        self, schemas: dict[str, Any], name: str
    ) -> None:
        assert schemas[name].is_output_node == ("Segment" in name or "PromptMask" in name)


class TestWidgets:
    @pytest.fixture(params=["LDZNetSegment", "LDZNetSegmentImage"])
    def widgets(self, request: pytest.FixtureRequest, schemas: dict[str, Any]) -> dict[str, Any]:
        return {each.id: each for each in schemas[request.param].inputs}

    def test_the_threshold_is_a_probability_strictly_between_0_and_1(
        self, widgets: dict[str, Any]
    ) -> None:
        threshold = widgets["threshold"]
        assert (threshold.min, threshold.default, threshold.max) == (0.01, 0.5, 0.99)

    def test_edges_are_in_pixels_and_untouched_by_default(self, widgets: dict[str, Any]) -> None:
        for name in ("grow", "feather"):
            assert (widgets[name].min, widgets[name].default, widgets[name].max) == (0, 0, 256)

    def test_edges_are_the_same_on_every_node(
        self, widgets: dict[str, Any], schemas: dict[str, Any]
    ) -> None:
        others = {each.id: each for each in schemas["LDZNetPromptMask"].inputs}
        for name in ("grow", "feather"):
            assert (others[name].min, others[name].default) == (0, 0)
            assert others[name].max == widgets[name].max
            assert others[name].tooltip == widgets[name].tooltip

    def test_phrases_are_written_one_a_line(self, widgets: dict[str, Any]) -> None:
        for name in ("phrases", "negative_phrases"):
            assert widgets[name].multiline
            assert "one" in widgets[name].placeholder or "mask" in widgets[name].placeholder
        assert widgets["negative_phrases"].default == ""

    def test_the_source_is_auto_unless_chosen(self, schemas: dict[str, Any]) -> None:
        source = {each.id: each for each in schemas["LDZNetSegment"].inputs}["source"]
        assert source.options == ["auto", "sampling", "probe"]
        assert source.default == "auto"


class TestSearchAliases:
    """Newer than ComfyUI 0.8.0, whose Schema would refuse the whole pack for them."""

    def test_they_are_left_out_where_the_schema_has_none(self, schemas: dict[str, Any]) -> None:
        assert not any(hasattr(schema, "search_aliases") for schema in schemas.values())

    def test_they_are_given_where_the_schema_has_them(
        self, monkeypatch: pytest.MonkeyPatch, nodes: dict[str, Any]
    ) -> None:
        from comfy_api.latest import io

        @dataclass
        class NewerSchema(io.Schema):
            search_aliases: list[str] = field(default_factory=list)

        monkeypatch.setattr(io, "Schema", NewerSchema)
        aliases = {name: node.GET_SCHEMA().search_aliases for name, node in nodes.items()}
        assert all(aliases.values())
        assert "text to mask" in aliases["LDZNetSegment"]

    def test_a_field_that_no_schema_knows_would_be_noticed(self, pack: Pack) -> None:
        """The stand-in is as strict as the host."""
        from comfy_api.latest import io

        with pytest.raises(TypeError, match="search_aliases"):
            io.Schema(node_id="A", search_aliases=["b"])
        same = [io.Mask.Input("mask")], [io.Mask.Output("mask")]
        with pytest.raises(ValueError, match="unique between inputs and outputs"):
            io.Schema(node_id="A", inputs=same[0], outputs=same[1]).validate()


def test_both_sockets_for_a_head_are_of_one_kind(schemas: dict[str, Any]) -> None:
    made = schemas["LDZNetLoadHead"].outputs[0].io_type
    taken = {schemas[name].inputs[0].io_type for name in ("LDZNetSegment", "LDZNetSegmentImage")}
    assert taken == {made}
