"""The node that listens while a sampler runs."""

from __future__ import annotations

from comfy_api.latest import io

from .backbone import family_of
from .bank import BANK
from .sampling import with_capture
from .schema import CATEGORY, described, output


class LDZNetCapture(io.ComfyNode):
    """Makes a model's samplers leave features for masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's interface."""
        return described(
            node_id="LDZNetCapture",
            display_name="LD-ZNet Capture",
            category=CATEGORY,
            description=(
                "Put it between the model and the sampler. While the sampler runs, LD-ZNet listens "
                "to the UNet, so that masks of the finished picture cost no extra pass. The "
                "picture stays the same, bit for bit."
            ),
            search_aliases=["hook", "features", "attention"],
            inputs=[
                io.Model.Input("model", tooltip="A model of SD 1.x, or the miniature."),
            ],
            outputs=[
                output(io.Model, "model", "The same model, listened to: for the sampler."),
            ],
        )

    @classmethod
    def execute(cls, model: io.Model.Type) -> io.NodeOutput:
        """Clone the model and put the wrappers on."""
        family_of(model)
        return io.NodeOutput(with_capture(model, BANK))
