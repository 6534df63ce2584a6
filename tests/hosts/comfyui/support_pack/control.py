"""A control that adds to the UNet's hidden states and skips in place, as ControlNets do."""

from __future__ import annotations

from typing import Any

import torch
from comfy.controlnet import ControlBase
from comfy_api.latest import io

_ADDITIONS = {"input": 12, "middle": 1, "output": 12}  # places in SD 1.x's UNet


class _SteadyControl(ControlBase):
    """Adds constants everywhere; ComfyUI's apply_control writes them into the tensors in place."""

    def get_control(
        self, x_noisy: torch.Tensor, t: torch.Tensor, cond: Any, batched: int, options: Any
    ) -> dict[str, list[torch.Tensor]]:
        """Return what to add at each place; the UNet takes from the lists' ends."""
        return {
            name: [x_noisy.new_full((1, 1, 1, 1), 0.1 * (-1) ** place) for place in range(count)]
            for name, count in _ADDITIONS.items()
        }


class TestControl(io.ComfyNode):
    """Put such a control on both conditionings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestControl",
            category="LD-ZNet tests",
            inputs=[io.Conditioning.Input("positive"), io.Conditioning.Input("negative")],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
        )

    @classmethod
    def execute(cls, positive: list[Any], negative: list[Any]) -> io.NodeOutput:
        control = _SteadyControl()
        extra = {"control": control, "control_apply_to_uncond": False}
        return io.NodeOutput(
            *(
                [[text, {**options, **extra}] for text, options in each]
                for each in (positive, negative)
            )
        )
