"""The node that listens while a sampler runs."""

from __future__ import annotations

from comfy_api.latest import io
from torch import nn

from ..ldznet_core.taps import Taps, TapsOf, find_taps
from ..ldznet_core.training_free import find_places
from ..ldznet_core.training_free.layers import layers_of
from .backbone import check_trained, family_of, has_taps
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
                io.Model.Input(
                    "model",
                    tooltip="A model of SD 1.x, or the miniature; with attention, SD 2.x or SDXL.",
                ),
                io.Boolean.Input(
                    "attention",
                    default=False,
                    optional=True,
                    tooltip="Listen for masks without a trained head (training-free), too.",
                ),
            ],
            outputs=[
                output(io.Model, "model", "The same model, listened to: for the sampler."),
            ],
        )

    @classmethod
    def execute(cls, model: io.Model.Type, attention: bool = False) -> io.NodeOutput:
        """Clone the model and put the wrappers on."""
        family = family_of(model)
        if not attention:
            check_trained(family)
        return io.NodeOutput(
            with_capture(model, BANK, _taps_with_attention(family) if attention else find_taps)
        )


def _taps_with_attention(family: str) -> TapsOf:
    """Finds the places that masks without a head read, beside the taps that heads read."""
    layers = layers_of(family)

    def taps_of(unet: nn.Module) -> Taps:
        places = find_places(unet, layers)
        # samplers' passes are never ended early, so that the order of the two is free
        return {**places, **find_taps(unet)} if has_taps(family) else places

    return taps_of
