"""A compiled model, by the host's own way to compile."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_api.torch_helpers import set_torch_compile_wrapper


class TestCompile(io.ComfyNode):
    """Compile a model with a backend that traces and then runs the graph as it is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestCompile",
            category="LD-ZNet tests",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        compiled = model.clone()
        set_torch_compile_wrapper(model=compiled, backend="eager")
        return io.NodeOutput(compiled)
