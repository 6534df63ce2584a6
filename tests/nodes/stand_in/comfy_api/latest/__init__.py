"""Imitates comfy_api/latest/__init__.py of ComfyUI 0.8.0: what a pack's door gives."""

from __future__ import annotations

from abc import ABC, abstractmethod

from . import _io as io
from . import _ui as ui

__all__ = ["ComfyExtension", "io", "ui"]


class ComfyExtension(ABC):
    """A pack."""

    @abstractmethod
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...
