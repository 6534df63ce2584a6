"""Imitates comfy/utils.py of ComfyUI 0.8.0: the progress bar of a node."""

from __future__ import annotations

from collections.abc import Callable

_hook: Callable[[int, int], None] | None = None


def set_progress_bar_global_hook(function: Callable[[int, int], None] | None) -> None:
    """Have every bar's steps told; the host's own hook also raises on interruption."""
    global _hook
    _hook = function


class ProgressBar:
    """Counts up to a total, and no further."""

    def __init__(self, total: int) -> None:
        self.total, self.current = total, 0

    def update(self, value: int) -> None:
        self.current = min(self.current + value, self.total)
        if _hook is not None:
            _hook(self.current, self.total)
