"""Nodes that fail on purpose."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

FAILURE = "failed on purpose"


class TestFail(io.ComfyNode):
    """Fail instead of passing a value on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestFail",
            category="LD-ZNet tests",
            inputs=[io.AnyType.Input("value")],
            outputs=[io.AnyType.Output(display_name="value")],
        )

    @classmethod
    def execute(cls, value: Any) -> io.NodeOutput:
        raise RuntimeError(FAILURE)


class TestFailInUNet(io.ComfyNode):
    """A model whose UNet fails once, in the middle of a pass; all other passes are as ever."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestFailInUNet",
            category="LD-ZNet tests",
            inputs=[io.Model.Input("model"), io.Int.Input("at_pass", default=1, min=1)],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model: Any, at_pass: int) -> io.NodeOutput:
        passes = 0

        def fail_in_the_middle(h: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
            nonlocal passes
            if options["block"] == ("input", 8):
                passes += 1
                if passes == at_pass:
                    raise RuntimeError(FAILURE)
            return h

        failing = model.clone()
        failing.set_model_input_block_patch(fail_in_the_middle)
        return io.NodeOutput(failing)
