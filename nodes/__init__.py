"""LD-ZNet in ComfyUI: the nodes, and what translates between the host and ldznet_core."""

from __future__ import annotations

from comfy_api.latest import io

from .capture import LDZNetCapture
from .folders import register
from .load import LDZNetLoadHead, LDZNetLoadMiniature
from .prompt_mask import LDZNetPromptMask
from .segment import LDZNetSegment, LDZNetSegmentImage
from .snap import LDZNetSnapMask
from .split import LDZNetSplitMask

__all__ = ["NODES", "register"]

NODES: list[type[io.ComfyNode]] = [
    LDZNetLoadMiniature,
    LDZNetLoadHead,
    LDZNetCapture,
    LDZNetSegment,
    LDZNetSegmentImage,
    LDZNetPromptMask,
    LDZNetSnapMask,
    LDZNetSplitMask,
]
"""In the order of a workflow."""
