"""Stands in for modules/ui_common.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .ui_components import ToolButton


def create_refresh_button(
    refresh_component: Any,
    refresh_method: Callable[[], None],
    refreshed_args: Callable[[], dict[str, Any]],
    elem_id: str,
) -> ToolButton:
    def refresh() -> dict[str, Any]:
        refresh_method()
        return refreshed_args()

    button = ToolButton(elem_id=elem_id)
    button.click(refresh, [], [refresh_component])
    return button
