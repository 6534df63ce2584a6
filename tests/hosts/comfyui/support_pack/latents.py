"""Latents and masks that no stock node makes."""

from __future__ import annotations

import torch
from comfy_api.latest import io


class TestNaNLatent(io.ComfyNode):
    """Latents in which one number is not a number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestNaNLatent",
            category="LD-ZNet tests",
            inputs=[
                io.Int.Input("width", default=128, min=8),
                io.Int.Input("height", default=128, min=8),
            ],
            outputs=[io.Latent.Output(display_name="samples")],
        )

    @classmethod
    def execute(cls, width: int, height: int) -> io.NodeOutput:
        samples = torch.zeros(1, 4, height // 8, width // 8)
        samples[0, 0, 0, 0] = float("nan")
        return io.NodeOutput({"samples": samples})


class TestRegion(io.ComfyNode):
    """A mask of the left part of a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestRegion",
            category="LD-ZNet tests",
            inputs=[
                io.Int.Input("width", default=128, min=1),
                io.Int.Input("height", default=128, min=1),
                io.Float.Input("part", default=0.5, min=0, max=1),
            ],
            outputs=[io.Mask.Output(display_name="mask")],
        )

    @classmethod
    def execute(cls, width: int, height: int, part: float) -> io.NodeOutput:
        mask = torch.zeros(1, height, width)
        mask[..., : round(width * part)] = 1
        return io.NodeOutput(mask)


class TestDot(io.ComfyNode):
    """A picture of any size: a dark disc on a bright ground."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestDot",
            category="LD-ZNet tests",
            inputs=[
                io.Int.Input("width", default=128, min=1),
                io.Int.Input("height", default=128, min=1),
                io.Int.Input("batch_size", default=1, min=1),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int) -> io.NodeOutput:
        y = torch.linspace(-1, 1, height)[:, None]
        x = torch.linspace(-1, 1, width)[None]
        disc = (x**2 + y**2 < 0.25).float()[None, ..., None]  # (1, H, W, 1)
        ground, dark = torch.tensor([0.9, 0.8, 0.6]), torch.tensor([0.8, 0.1, 0.1])
        image = disc * dark + (1 - disc) * ground
        return io.NodeOutput(image.repeat(batch_size, 1, 1, 1))
