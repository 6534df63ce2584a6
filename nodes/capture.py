"""The node that listens while a sampler runs."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_api.latest import io
from torch import nn

from ..ldznet_core.checkpoint import blocks_of_built_in
from ..ldznet_core.taps import Taps, TapsOf, find_taps
from ..ldznet_core.training_free import TrainingFree, find_places
from ..ldznet_core.training_free.layers import layers_of
from .auto_head import AutoHead, FittedHead, fitted
from .backbone import check_trained, family_of, has_taps
from .bank import BANK
from .levels import check_levels
from .managed_head import ManagedHead
from .sampling import with_capture
from .schema import CATEGORY, described, output
from .sockets import HeadSocket


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
                "Put it between the model and the sampler. While the sampler runs, LD-ZNet records "
                "what the UNet sees, so that masks of the finished picture need no extra pass. The "
                "picture stays the same, bit for bit. One exception: after torch.compile, rounding "
                "may differ, as the steps that are recorded run uncompiled."
            ),
            search_aliases=["hook", "features", "attention"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="An SD 1.x, SD 2.x or SDXL model, or the miniature.",
                ),
                io.Boolean.Input(
                    "attention",
                    default=False,
                    optional=True,
                    tooltip="Also record attention, for the training-free head.",
                ),
                HeadSocket.Input(
                    "head",
                    optional=True,
                    tooltip=(
                        "The head that will make the masks, so that what it needs is recorded. "
                        "Built-in heads need no connection; auto, training-free and your own do."
                    ),
                ),
            ],
            outputs=[
                output(io.Model, "model", "The same model. Connect it to the sampler."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        attention: bool = False,
        head: AutoHead | FittedHead | None = None,
    ) -> io.NodeOutput:
        """Clone the model and put the wrappers on."""
        family = family_of(model)
        head = None if head is None else fitted(head, family)
        attention = attention or isinstance(head, TrainingFree)
        check_levels(model)
        blocks = set(blocks_of_built_in(family))
        if isinstance(head, ManagedHead):
            check_trained(family)
            blocks |= set(head.config.taps)
        return io.NodeOutput(with_capture(model, BANK, _taps_of(family, sorted(blocks), attention)))


def _taps_of(family: str, blocks: Sequence[int], attention: bool) -> TapsOf:
    """Finds the blocks that heads read, and the places that masks without a head read.

    Of SDXL without attention there is neither: what the prompt changed is kept all the same.
    Samplers' passes are never ended early, so that the order of the two is free.
    """

    def taps_of(unet: nn.Module) -> Taps:
        places = find_places(unet, layers_of(family)) if attention else {}
        return {**places, **find_taps(unet, blocks)} if has_taps(family) else places

    return taps_of
