"""Stands in for Gradio 3.41.2 and 4.40.0: components that remember how they were made and wired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__version__ = "3.41.2"

MADE: list[Component] = []
"""Every component since a test began, in order."""

TOASTS: list[str] = []
"""What was shown in a corner of the page."""


@dataclass
class Wire:
    """An event and what it leads to, see gradio/events.py."""

    fn: Callable[..., Any] | None = None
    inputs: Any = None
    outputs: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    followers: list[Wire] = field(default_factory=list)

    def success(self, *arguments: Any, **options: Any) -> Wire:
        self.followers.append(_wire(*arguments, **options))
        return self.followers[-1]


class Component:
    """Any component or layout block."""

    def __init__(self, value: Any = None, *, visible: bool = True, **options: Any) -> None:
        self.value = value
        self.visible = visible
        self.elem_id = options.get("elem_id")
        self.options = options
        self.wires: list[Wire] = []
        for name in ("minimum", "maximum", "step", "choices"):
            setattr(self, name, options.get(name))
        MADE.append(self)

    def click(self, *arguments: Any, **options: Any) -> Wire:
        self.wires.append(_wire(*arguments, **options))
        return self.wires[-1]

    select = click

    def __enter__(self) -> Component:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Blocks(Component): ...


class Row(Component): ...


class Column(Component): ...


class Tabs(Component): ...


class TabItem(Component): ...


class Accordion(Component): ...


class Checkbox(Component): ...


class Textbox(Component): ...


class Slider(Component): ...


class Radio(Component): ...


class Dropdown(Component): ...


class Button(Component): ...


class Image(Component): ...


class Gallery(Component): ...


class HTML(Component): ...


class State(Component): ...


@dataclass
class SelectData:
    """Which part of a component was clicked."""

    index: int


def update(**changes: Any) -> dict[str, Any]:
    return {**changes, "__type__": "update"}


def Warning(message: str) -> None:  # noqa: A001, N802 (Gradio's own name)
    TOASTS.append(message)


def _wire(
    fn: Callable[..., Any] | None = None, inputs: Any = None, outputs: Any = None, **options: Any
) -> Wire:
    return Wire(fn, inputs, outputs, options)
