"""Imitates comfy_api/latest/_io.py of ComfyUI 0.8.0: schemas of nodes, their inputs and outputs.

Stricter in one thing, as 0.3.64 is: ids are unique between inputs and outputs, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class _Socket:
    """An input or an output; its kind is that of the class that it stands in."""

    Parent: type[ComfyType]
    id: str

    @property
    def io_type(self) -> str:
        return self.Parent.io_type


class Input(_Socket):
    """What a node is given."""

    def __init__(
        self,
        id: str,  # noqa: A002 (the host's own name)
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        extra_dict: dict[str, Any] | None = None,
    ) -> None:
        self.id, self.display_name, self.tooltip = id, display_name, tooltip
        self.optional, self.lazy, self.extra_dict = optional, lazy, extra_dict or {}


class WidgetInput(Input):
    """An input that users can fill in at the node."""

    def __init__(
        self,
        id: str,  # noqa: A002 (the host's own name)
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        default: Any = None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy)
        self.default = default


class Output(_Socket):
    """What a node gives."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 (the host's own name)
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.id = id or ""
        self.display_name = display_name if display_name else id
        self.tooltip, self.is_output_list = tooltip, is_output_list


class ComfyType:
    """A kind of value on a wire."""

    Type = Any
    io_type: str
    Input: type[Input]
    Output: type[Output]


class _NumberInput(WidgetInput):
    def __init__(
        self,
        id: str,  # noqa: A002 (the host's own name)
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        default: float | None = None,
        min: float | None = None,  # noqa: A002 (the host's own name)
        max: float | None = None,  # noqa: A002 (the host's own name)
        step: float | None = None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy, default)
        self.min, self.max, self.step = min, max, step


class _StringInput(WidgetInput):
    def __init__(
        self,
        id: str,  # noqa: A002 (the host's own name)
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        multiline: bool = False,
        placeholder: str | None = None,
        default: str | None = None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy, default)
        self.multiline, self.placeholder = multiline, placeholder


class _BooleanInput(WidgetInput):
    def __init__(
        self,
        id: str,  # noqa: A002 (the host's own name)
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        default: bool | None = None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy, default)


class _ComboInput(WidgetInput):
    def __init__(
        self,
        id: str,  # noqa: A002 (the host's own name)
        options: list[str],
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        default: str | None = None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy, default)
        self.options = options


def Custom(io_type: str) -> Any:  # noqa: N802 (the host's own name)
    """A kind of one's own."""
    return _kind(io_type)


def _kind(name: str, input_class: type[Input] = Input) -> Any:
    kind: Any = type(name, (ComfyType,), {"io_type": name})
    kind.Input = type("Input", (input_class,), {"Parent": kind})
    kind.Output = type("Output", (Output,), {"Parent": kind})
    return kind


Model, Clip, Vae = _kind("MODEL"), _kind("CLIP"), _kind("VAE")
Latent, Image, Mask = _kind("LATENT"), _kind("IMAGE"), _kind("MASK")
Int, Float = _kind("INT", _NumberInput), _kind("FLOAT", _NumberInput)
String, Combo = _kind("STRING", _StringInput), _kind("COMBO", _ComboInput)
Boolean = _kind("BOOLEAN", _BooleanInput)


@dataclass
class Schema:
    """What a node is; a field that is unknown here is a TypeError, as in every dataclass."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Any] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False

    def validate(self) -> None:
        """Refuse ids that are given twice, be it to an input and an output (0.3.64)."""
        ids = [socket.id for socket in (*self.inputs, *self.outputs)]
        if twice := {each for each in ids if ids.count(each) > 1}:
            raise ValueError(f"Ids must be unique between inputs and outputs, but {twice} are not.")


class NodeOutput:
    """What `execute` gives: a value for each output, and what is shown under the node."""

    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args, self.ui = args, ui

    @property
    def result(self) -> tuple[Any, ...] | None:
        return self.args or None


class ComfyNode:
    """A node, never an instance: the host calls class methods of a locked copy."""

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:  # noqa: N802 (the host's own name)
        """The validated schema; outputs without an id get one."""
        schema = cls.define_schema()
        schema.validate()
        for number, socket in enumerate(schema.outputs):
            socket.id = socket.id or f"_{number}_{socket.io_type}_"
        return schema
