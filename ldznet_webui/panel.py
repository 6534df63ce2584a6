"""The panel in txt2img and img2img: a component for each setting, and what infotexts fill in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any, TypeAlias

import gradio as gr
from modules import ui_common, ui_components

from ldznet_core.auto_head import AUTO_HEAD

from .heads import list_heads
from .host import find_host
from .settings import BY_NAME, FIELDS, Field, Kind, text_of

Component: TypeAlias = Any
"""One of Gradio's, whose types change with its version."""

InfotextField: TypeAlias = tuple[Component, str | Callable[[Mapping[str, str]], Any]]

_EXAMPLES = {"phrases": "the red car\nthe sky", "negative_phrases": "the wheels"}

_ROWS: dict[Kind, int] = {"lines": 0, "number": 1, "choice": 2, "name": 2, "whole": 3, "flag": 4}
"""Kinds of settings that stand side by side where they follow each other in the table."""


def build_panel(is_img2img: bool) -> list[Component]:
    """The panel of a tab, to be called while Gradio builds it; its components as `FIELDS` go.

    What only img2img has is there in txt2img too, out of sight, so that arguments count the same.
    """
    tab = "img2img" if is_img2img else "txt2img"
    enabled, *others = FIELDS
    with _accordion(enabled, f"ldznet_{tab}") as switch:
        components = [switch]
        for _, row in groupby(others, key=lambda field: _ROWS[field.kind]):
            with gr.Row():
                components += [
                    component_of(
                        field, f"ldznet_{tab}", visible=is_img2img or not field.is_img2img_only
                    )
                    for field in row
                ]
    return components


def component_of(field: Field, prefix: str, *, visible: bool = True) -> Component:
    """The component for a setting.

    Args:
        field: What is set.
        prefix: What its element's id begins with, unique in the page.
        visible: Whether it is shown.
    """
    explanation = "info" if field.kind == "lines" else "tooltip"  # the host's own keyword
    made: Component = _MAKERS[field.kind](
        field,
        label=field.label,
        value=text_of(field, field.default),
        elem_id=f"{prefix}_{field.name}",
        visible=visible,
        **{explanation: field.info},
    )
    return made


def infotext_fields(components: Sequence[Component]) -> list[InfotextField]:
    """What fills the panel when an infotext is pasted.

    One with phrases switches LD-ZNet on, any other off. A head that is not here is not chosen.

    Args:
        components: As `build_panel` gave them.
    """
    phrases = BY_NAME["phrases"].infotext
    fields: list[InfotextField] = [(components[0], lambda pasted: phrases in pasted)]
    for field, component in zip(FIELDS, components, strict=True):
        if field.kind == "name":
            fields.append((component, partial(_known_head, field.infotext)))
        elif field.infotext and component.visible:
            fields.append((component, field.infotext))
    return fields


def paste_field_names() -> list[str]:
    """What "Send to img2img" carries over: what both tabs have, by its key in infotexts."""
    return [
        field.infotext
        for field in FIELDS
        if field.infotext and field.kind != "name" and not field.is_img2img_only
    ]


def complete_infotext(text: str, pasted: dict[str, Any]) -> None:
    """Add what an infotext leaves out because it was as usual; the host calls it on every paste."""
    if BY_NAME["phrases"].infotext in pasted:
        for field in FIELDS:
            if field.infotext:
                pasted.setdefault(field.infotext, str(text_of(field, field.default)))


@contextmanager
def _accordion(field: Field, elem_id: str) -> Iterator[Component]:
    """A fold that is a switch too; in hosts older than A1111 1.6 the switch lies in it."""
    folding_switch = getattr(ui_components, "InputAccordion", None)
    if folding_switch is not None:
        with folding_switch(field.default, label=field.label, elem_id=elem_id) as switch:
            yield switch
        return
    with gr.Accordion(label=field.label, open=field.default, elem_id=elem_id):
        yield gr.Checkbox(field.default, label=field.info, elem_id=f"{elem_id}_{field.name}")


def _heads() -> list[str]:
    return [AUTO_HEAD, *list_heads(find_host().heads_folder())]


def _known_head(key: str, pasted: Mapping[str, str]) -> str | None:
    name = pasted.get(key)
    return name if name in _heads() else None


def _dropdown_of_heads(_: Field, **look: Any) -> Component:
    with gr.Row():
        dropdown = gr.Dropdown(choices=_heads(), **look)
        ui_common.create_refresh_button(
            dropdown, lambda: None, lambda: {"choices": _heads()}, f"{look['elem_id']}_refresh"
        )
    return dropdown


def _textbox(field: Field, **look: Any) -> Component:
    example = _EXAMPLES.get(field.name, "")
    return gr.Textbox(lines=2, max_lines=8, placeholder=example, **look)


def _slider(field: Field, **look: Any) -> Component:
    return gr.Slider(minimum=field.minimum, maximum=field.maximum, step=field.step, **look)


_MAKERS: dict[Kind, Callable[..., Component]] = {
    "flag": lambda _, **look: gr.Checkbox(**look),
    "lines": _textbox,
    "number": _slider,
    "whole": _slider,
    "choice": lambda field, **look: gr.Radio(choices=list(field.choices), **look),
    "name": _dropdown_of_heads,
}
