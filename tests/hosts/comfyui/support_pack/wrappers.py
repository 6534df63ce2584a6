"""Who has put wrappers on a MODEL."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io


class TestWrappers(io.ComfyNode):
    """Name the wrappers that a model carries, as ``place/owner x count``."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestWrappers",
            category="LD-ZNet tests",
            inputs=[io.Model.Input("model")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        names = [
            f"{place}/{owner} x {len(wrappers)}"
            for place, owners in model.wrappers.items()
            for owner, wrappers in owners.items()
            if wrappers
        ]
        return io.NodeOutput(ui={"wrappers": sorted(names)})
