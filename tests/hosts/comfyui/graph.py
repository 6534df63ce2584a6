"""Workflows in ComfyUI's API form, written as Python calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ObjectInfo = Mapping[str, Mapping[str, Any]]
"""What ``GET /object_info`` answers: each node's inputs and outputs, by class."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a node, to be passed to another node's input."""

    node: str
    index: int


class Node:
    """A node of a graph; ``node["MASK"]`` and ``node[0]`` are its outputs."""

    def __init__(self, node_id: str, output_names: list[str]) -> None:
        self.id = node_id
        self._output_names = output_names

    def __getitem__(self, output: str | int) -> Output:
        if isinstance(output, int):
            return Output(self.id, output)
        if output not in self._output_names:
            raise KeyError(f"no output {output!r} among {self._output_names}")
        return Output(self.id, self._output_names.index(output))


class Graph:
    """A workflow under construction.

    Inputs that are left out get the default that the host names for them.
    """

    def __init__(self, info: ObjectInfo) -> None:
        self._info = info
        self._nodes: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, /, **inputs: Any) -> Node:
        """Add a node; an input is a value, an `Output`, or a `Node` for its first output."""
        if kind not in self._info:
            raise KeyError(f"the host has no node {kind}")
        wanted = self._info[kind]["input"]
        unknown = inputs.keys() - {*wanted.get("required", {}), *wanted.get("optional", {})}
        if unknown:
            raise TypeError(f"{kind} has no input {sorted(unknown)}")
        values = _defaults(wanted.get("required", {})) | inputs
        node = Node(str(len(self._nodes) + 1), list(self._info[kind]["output_name"]))
        self._nodes[node.id] = {
            "class_type": kind,
            "inputs": {name: _in_api_form(value) for name, value in values.items()},
        }
        return node

    def set(self, node: Node, **inputs: Any) -> None:
        """Change inputs of a node that is in the graph."""
        changed = {name: _in_api_form(value) for name, value in inputs.items()}
        self._nodes[node.id]["inputs"].update(changed)

    def remove(self, node: Node) -> None:
        """Take a node out; what was joined to it is the caller's to mend."""
        del self._nodes[node.id]

    def api(self) -> dict[str, dict[str, Any]]:
        """Return what ``POST /prompt`` takes as ``prompt``."""
        return {key: {**node, "inputs": dict(node["inputs"])} for key, node in self._nodes.items()}


def _in_api_form(value: Any) -> Any:
    if isinstance(value, Node):
        return [value.id, 0]
    if isinstance(value, Output):
        return [value.node, value.index]
    return value


def _defaults(inputs: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, (kind, *rest) in inputs.items():
        options = rest[0] if rest else {}
        choices = kind if isinstance(kind, list) else options.get("options", [])
        if "default" in options:
            found[name] = options["default"]
        elif choices:
            found[name] = choices[0]
    return found
