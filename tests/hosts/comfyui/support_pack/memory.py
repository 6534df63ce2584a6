"""A host that is short of memory, as far as sampling can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io


class TestHungry(io.ComfyNode):
    """A model that claims to need endless memory for more than one picture in a pass.

    So the host runs prompt and negative one after the other (comfy/samplers.py, calc_cond_batch).
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestHungry",
            category="LD-ZNet tests",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        def memory_required(shape: Sequence[int], cond_shapes: Any = None) -> float:
            return 1e30 if shape[0] > 1 else 0.0

        hungry = model.clone()
        hungry.add_object_patch("memory_required", memory_required)
        return io.NodeOutput(hungry)
