"""The node that splits masks into their pieces."""

from __future__ import annotations

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.utils import ProgressBar
from comfy_api.latest import io
from torch import Tensor

from ..ldznet_core.masks import union
from ..ldznet_core.pieces import LEAST_AREA, ORDERS, Order, split
from .conversions import masks_of, to_batch
from .schema import CATEGORY, described, output


class LDZNetSplitMask(io.ComfyNode):
    """Any mask, and each of its pieces as a mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's interface."""
        return described(
            node_id="LDZNetSplitMask",
            display_name="LD-ZNet Split Mask",
            category=CATEGORY,
            description=(
                "Splits any mask into its separate pieces. A phrase says what to mask, not which "
                "one: two apples share one mask until you split it. It can also drop tiny pieces, "
                "or keep only the largest ones."
            ),
            search_aliases=[
                "instances",
                "connected components",
                "separate objects",
                "largest",
                "remove small",
            ],
            inputs=[
                io.Mask.Input(
                    "mask", tooltip="One mask or a batch. Each mask is split on its own."
                ),
                io.Float.Input(
                    "least_area",
                    default=LEAST_AREA,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Drop pieces that cover less than this percentage of the picture.",
                ),
                io.Int.Input(
                    "most",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="Keep only this many pieces per mask, the largest ones. 0 keeps all.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip=(
                        "The order of a mask's pieces: by where their centres are, or the largest "
                        "first."
                    ),
                ),
            ],
            outputs=[
                output(io.Mask, "mask", "All kept pieces together, one for each mask."),
                output(
                    io.Mask,
                    "masks",
                    "One mask per piece. If no piece is left, one empty mask.",
                    is_list=True,
                ),
                output(io.Int, "count", "How many pieces are left in all masks together."),
            ],
        )

    @classmethod
    def execute(cls, mask: Tensor, least_area: float, most: int, order: Order) -> io.NodeOutput:
        """Split each mask; the pieces of the first come first."""
        masks = masks_of(mask)
        bar = ProgressBar(len(masks))
        found = []
        for each in masks:
            throw_exception_if_processing_interrupted()
            found.append(split(each.float().cpu(), least_area, most or None, order))
            bar.update(1)
        together = to_batch([union(pieces) for pieces in found])
        pieces = [piece[None] for pieces in found for piece in pieces]
        return io.NodeOutput(together, pieces or [torch.zeros_like(together[:1])], len(pieces))
