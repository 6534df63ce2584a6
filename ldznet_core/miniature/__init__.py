"""The miniature: a small text-to-image model of the project's own, with its weights.

Its weights can be read without its networks (`parts`), which import diffusers and transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Generation, Miniature, load_miniature

__all__ = ["Generation", "Miniature", "load_miniature"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(".model", __name__), name)
    return value
