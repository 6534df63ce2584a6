"""Stands in for modules/ui_components.py."""

from __future__ import annotations

from gradio import Button, Checkbox


class ToolButton(Button):
    """A small button."""


class InputAccordion(Checkbox):
    """A fold that is a checkbox too."""
