"""Nodes called as the host calls them, their outputs by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch


def call(node: Any, **inputs: Any) -> SimpleNamespace:
    """A node's outputs by the names that users see, and under ``ui`` what is shown below it.

    In inference mode, and with keywords for all that the schema asks for, as execution.py of
    ComfyUI 0.8.0 does.
    """
    schema = node.GET_SCHEMA()
    optional = {each.id for each in schema.inputs if each.optional}
    given, asked = set(inputs), {each.id for each in schema.inputs}
    assert asked - optional <= given <= asked
    with torch.inference_mode():
        output = node.execute(**inputs)
    names = [each.display_name for each in schema.outputs]
    return SimpleNamespace(**dict(zip(names, output.result, strict=True)), ui=output.ui)


def lines(*phrases: str) -> str:
    """Phrases as users write them: one a line."""
    return "\n".join(phrases)
