"""ComfyUI's door to LD-ZNet, and nothing else: ComfyUI imports the folder it finds in custom_nodes.

This version has no nodes yet, so the door opens on an empty room and says so. The A1111 family and
pip never come through here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

__all__ = ["comfy_entrypoint"]


async def comfy_entrypoint() -> ComfyExtension:
    """Return the pack's nodes as ComfyUI asks for them: none in this version."""
    from comfy_api.latest import ComfyExtension, io

    class LDZNetExtension(ComfyExtension):
        async def get_node_list(self) -> list[type[io.ComfyNode]]:
            """Return the classes of the pack's nodes."""
            return []

    logging.getLogger(__name__).warning(
        "LD-ZNet: this version has no ComfyUI nodes yet; see its README for what it offers today."
    )
    return LDZNetExtension()
