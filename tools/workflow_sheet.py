"""A ComfyUI workflow in the form that its front end saves, laid out in columns, groups and rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TITLE_HEIGHT, GROUP_TITLE_HEIGHT = 30, 44
GAP, MARGIN, BETWEEN_GROUPS = 24, 14, 24
"""Between nodes, from a group's edge to its nodes, and from one group's edge to the next one's."""

_WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
_LIST_SHAPE, _OPTIONAL_SHAPE = 6, 7  # how the front end draws sockets of lists, and loose ones
_NOTE_COLOURS = {"color": "#432", "bgcolor": "#653"}

ObjectInfo = Mapping[str, Mapping[str, Any]]
"""What ``GET /object_info`` answers."""


@dataclass(frozen=True, slots=True)
class Wire:
    """An output of a node."""

    node: Node
    slot: int


@dataclass(slots=True)
class Node:
    """A node of a sheet; ``node["MASK"]`` is one of its outputs."""

    saved: dict[str, Any]

    def __getitem__(self, name: str) -> Wire:
        names = [output["name"] for output in self.saved["outputs"]]
        return Wire(self, names.index(name))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, with the title."""
        (x, y), (width, height) = self.saved["pos"], self.saved["size"]
        return x, y - TITLE_HEIGHT, x + width, y + height


@dataclass(slots=True)
class Sheet:
    """A workflow under construction: rows of groups, each of columns of nodes."""

    info: ObjectInfo
    nodes: list[Node] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    _left: float = 0
    _x: float = 0
    _y: float = 0

    def columns(self, *widths: float) -> list[Column]:
        """Empty columns for the next group of this row."""
        columns = []
        for width in widths:
            columns.append(Column(self, self._x, self._y, width))
            self._x += width + GAP
        self._x += BETWEEN_GROUPS + 2 * MARGIN - GAP
        return columns

    def group(self, title: str, columns: Sequence[Column], colour: str) -> None:
        """Draw a frame around the nodes of columns."""
        nodes = [node for column in columns for node in column.nodes]
        lefts, tops, rights, bottoms = zip(*(node.box for node in nodes), strict=True)
        x, y = min(lefts) - MARGIN, min(tops) - GROUP_TITLE_HEIGHT
        size = [max(rights) + MARGIN - x, max(bottoms) + MARGIN - y]
        group = {"id": len(self.groups) + 1, "title": title, "bounding": [x, y, *size]}
        self.groups.append(group | {"color": colour, "font_size": 24, "flags": {}})

    def begin_rows(self) -> None:
        """Leave what is there so far at the left of all rows."""
        self._left = self._x

    def next_row(self) -> None:
        """Go on at the left of the rows, below them."""
        bottom = max(node.box[3] for node in self.nodes if node.box[0] >= self._left)
        self._x, self._y = self._left, bottom + MARGIN + BETWEEN_GROUPS + GROUP_TITLE_HEIGHT

    def workflow(self, scale: float) -> dict[str, Any]:
        """What the front end would have saved, seen at a scale."""
        return {
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": [node.saved for node in self.nodes],
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {"ds": {"scale": scale, "offset": self._offset()}},
            "version": 0.4,
        }

    def add(self, saved: dict[str, Any]) -> Node:
        """Take in a node, under the next number."""
        number = len(self.nodes) + 1
        node = Node({"id": number, **saved, "order": number - 1})
        self.nodes.append(node)
        return node

    def link(self, wire: Wire, node: Node, name: str) -> None:
        """Lead an output to an input."""
        source, target = wire.node.saved, node.saved
        output = source["outputs"][wire.slot]
        slot = [each["name"] for each in target["inputs"]].index(name)
        number = len(self.links) + 1
        self.links.append(
            [number, source["id"], wire.slot, target["id"], slot, target["inputs"][slot]["type"]]
        )
        output["links"].append(number)
        target["inputs"][slot]["link"] = number

    def _offset(self) -> list[float]:
        boxes = [node.box for node in self.nodes]
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        return [150 - left, 190 - top]  # clear of the menus


@dataclass(slots=True)
class Column:
    """Nodes one below the other."""

    sheet: Sheet
    x: float
    y: float
    """Where the next node's title begins."""
    width: float
    nodes: list[Node] = field(default_factory=list)

    def add(
        self,
        kind: str,
        height: float,
        /,
        *,
        title: str = "",
        wires: Mapping[str, Wire] | None = None,
        models: Sequence[Mapping[str, str]] = (),
        **values: Any,
    ) -> Node:
        """Add a node below the last one.

        Args:
            kind: Its class in ComfyUI.
            height: Without the title, in pixels.
            title: In the place of the class's own name.
            wires: What is connected to its inputs.
            models: Files that it asks for, for the front end to offer.
            **values: Its widgets' values; those left out get the host's defaults.
        """
        info = self.sheet.info[kind]
        specs = _inputs(info)
        unknown = values.keys() - {name for name, spec in specs.items() if _is_widget(spec)}
        if unknown:
            raise KeyError(f"{kind} has no widgets {sorted(unknown)}")
        properties: dict[str, Any] = {"Node name for S&R": kind}
        if models:
            properties["models"] = [dict(model) for model in models]
        node = self._place(
            kind,
            height,
            title,
            inputs=_input_slots(specs, info["input"].get("optional", {})),
            outputs=_output_slots(info),
            properties=properties,
            widgets_values=_widget_values(specs, values),
        )
        for name, wire in (wires or {}).items():
            self.sheet.link(wire, node, name)
        return node

    def note(self, height: float, text: str, title: str = "Read me") -> Node:
        """Add a note in Markdown."""
        values = {"inputs": [], "outputs": [], "properties": {}, "widgets_values": [text]}
        return self._place("MarkdownNote", height, title, **values, **_NOTE_COLOURS)

    def _place(self, kind: str, height: float, title: str, **rest: Any) -> Node:
        top = self.y + TITLE_HEIGHT
        saved = {"type": kind, "pos": [self.x, top], "size": [self.width, height]}
        saved |= {"flags": {}, "mode": 0, **rest}
        if title:
            saved["title"] = title
        node = self.sheet.add(saved)
        self.nodes.append(node)
        self.y = top + height + GAP
        return node


def _inputs(info: Mapping[str, Any]) -> dict[str, list[Any]]:
    """A class's inputs in the order of its widgets, each a type and its options."""
    wanted = info["input"]
    return {**wanted.get("required", {}), **wanted.get("optional", {})}


def _type(spec: Sequence[Any]) -> str:
    return "COMBO" if isinstance(spec[0], list) else str(spec[0])


def _options(spec: Sequence[Any]) -> Mapping[str, Any]:
    options: Mapping[str, Any] = spec[1] if len(spec) > 1 else {}
    return options


def _is_widget(spec: Sequence[Any]) -> bool:
    return _type(spec) in _WIDGET_TYPES and not _options(spec).get("forceInput")


def _input_slots(
    specs: Mapping[str, Sequence[Any]], optional: Collection[str]
) -> list[dict[str, Any]]:
    """Sockets first, then those of the widgets, as the front end orders them."""
    sockets = [
        {"name": name, "type": _type(spec)}
        | ({"shape": _OPTIONAL_SHAPE} if name in optional else {})
        | {"link": None}
        for name, spec in specs.items()
        if not _is_widget(spec)
    ]
    widgets = [
        {"name": name, "type": _type(spec), "widget": {"name": name}, "link": None}
        for name, spec in specs.items()
        if _is_widget(spec)
    ]
    return sockets + widgets


def _output_slots(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = zip(info["output_name"], info["output"], info["output_is_list"], strict=True)
    return [
        {"name": name, "type": kind, "links": []} | ({"shape": _LIST_SHAPE} if is_list else {})
        for name, kind, is_list in rows
    ]


def _widget_values(specs: Mapping[str, Sequence[Any]], values: Mapping[str, Any]) -> list[Any]:
    """In the widgets' order, with those that the front end adds of its own."""
    found = []
    for name, spec in specs.items():
        if not _is_widget(spec):
            continue
        options = _options(spec)
        found.append(values[name] if name in values else _default(spec))
        if options.get("control_after_generate"):
            found.append("fixed")
        if options.get("image_upload"):
            found.append("image")
    return found


def _default(spec: Sequence[Any]) -> Any:
    options = _options(spec)
    choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
    empty = "" if _type(spec) == "STRING" else None
    return options.get("default", choices[0] if choices else empty)
