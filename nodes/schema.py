"""What the schemas of all nodes share."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io

CATEGORY = "LD-ZNet"


def output(kind: Any, name: str, tooltip: str, *, is_list: bool = False) -> io.Output:
    """An output of a kind such as ``io.Mask``, shown under its name.

    ComfyUI 0.3.64 shows the kind of an output without a display name.
    """
    return kind.Output(name, display_name=name, is_output_list=is_list, tooltip=tooltip)


def described(**fields: Any) -> io.Schema:
    """A node's schema with the fields that this ComfyUI knows.

    ``search_aliases`` is newer than ComfyUI 0.8.0, which would refuse the whole pack for it. An
    output that has an input's id gets another: ComfyUI 0.3.64 wants them all to differ.
    """
    taken = {each.id for each in fields.get("inputs", ())}
    for each in fields.get("outputs", ()):
        each.id = f"{each.id}_out" if each.id in taken else each.id
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(**{name: value for name, value in fields.items() if name in known})
