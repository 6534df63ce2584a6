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
                "Splits a mask into its separate pieces, whatever node made it. Words tell what is "
                "masked, not which: two apples share one mask until they are split. It also drops "
                "crumbs, or all but the largest pieces."
            ),
            search_aliases=[
                "instances",
                "connected components",
                "separate objects",
                "largest",
                "remove small",
            ],
            inputs=[
                io.Mask.Input("mask", tooltip="One mask or a batch; each is split by itself."),
                io.Float.Input(
                    "least_area",
                    default=LEAST_AREA,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Percent of the picture that a piece must cover to be kept.",
                ),
                io.Int.Input(
                    "most",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="How many of a mask's largest pieces are kept; 0 keeps all.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip=(
                        "How the pieces of a mask follow each other: by their centres, or the "
                        "largest first."
                    ),
                ),
            ],
            outputs=[
                output(io.Mask, "mask", "All pieces that are kept, together: one for each mask."),
                output(
                    io.Mask,
                    "masks",
                    "One mask for each piece; if none is left, a single empty one.",
                    is_list=True,
                ),
                output(io.Int, "count", "How many pieces are left, of all masks together."),
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
