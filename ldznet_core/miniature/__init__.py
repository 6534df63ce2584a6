"""The miniature: a small text-to-image model of the project's own, with its weights."""

from __future__ import annotations

from .model import Generation, Miniature, load_miniature

__all__ = ["Generation", "Miniature", "load_miniature"]
