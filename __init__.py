"""ComfyUI's door to LD-ZNet, and nothing else: ComfyUI imports the folder it finds in custom_nodes.

The A1111 family and pip never come through here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]

WEB_DIRECTORY = "./web"
"""What ComfyUI serves to the browser: the nodes' help pages, and what shows their reports."""


async def comfy_entrypoint() -> ComfyExtension:
    """Return the pack's nodes as ComfyUI asks for them."""
    from comfy_api.latest import ComfyExtension, io

    from .nodes import NODES, register

    class LDZNetExtension(ComfyExtension):
        async def get_node_list(self) -> list[type[io.ComfyNode]]:
            """Return the classes of the pack's nodes, once the folder that they list is known."""
            register()
            return NODES

    return LDZNetExtension()
