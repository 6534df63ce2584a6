"""The node that snaps masks to the edges of their picture."""

from __future__ import annotations

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.utils import ProgressBar
from comfy_api.latest import io
from torch import Tensor

from ..ldznet_core import InputError
from ..ldznet_core.masks import resize
from ..ldznet_core.snapping import snap
from .conversions import masks_of, pictures_of, to_batch
from .schema import CATEGORY, described, output


class LDZNetSnapMask(io.ComfyNode):
    """Any mask, its edges moved to those of the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's interface."""
        return described(
            node_id="LDZNetSnapMask",
            display_name="LD-ZNet Snap Mask",
            category=CATEGORY,
            description=(
                "Moves the edges of any mask to where the colours of the picture change. It helps "
                "most with the coarse masks of the training-free head. It needs the package "
                "pymatting."
            ),
            search_aliases=["refine mask", "matting", "mask edges", "alpha matte"],
            inputs=[
                io.Image.Input(
                    "image", tooltip="The picture that the mask belongs to, or a batch."
                ),
                io.Mask.Input(
                    "mask",
                    tooltip=(
                        "One mask per picture, or several masks of one picture. A mask of "
                        "another size is resized."
                    ),
                ),
                io.Int.Input(
                    "band",
                    default=0,
                    min=0,
                    max=256,
                    tooltip=(
                        "How far the edge may move, in pixels on each side. 0: a 16th of the "
                        "picture's side."
                    ),
                ),
            ],
            outputs=[
                output(io.Mask, "mask", "The mask with its new edges, as large as the picture."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, mask: Tensor, band: int) -> io.NodeOutput:
        """Snap each mask to its picture, at the picture's size."""
        pairs = _pairs(pictures_of(image), mask)
        bar = ProgressBar(len(pairs))
        snapped = []
        for picture, soft in pairs:
            throw_exception_if_processing_interrupted()
            height, width = picture.shape[-2:]
            fitting = resize(soft[None].float(), (height, width))
            snapped.append(snap(picture, fitting, band or None)[0])
            bar.update(1)
        return io.NodeOutput(to_batch(snapped))


def _pairs(pictures: list[Tensor], mask: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each picture with its mask ``(H, W)``; a single one of either goes with all of the other."""
    masks = masks_of(mask)
    if len(masks) != len(pictures) and 1 not in (len(masks), len(pictures)):
        raise InputError(
            f"expected one mask for each picture, got {len(masks)} masks for {len(pictures)} "
            "pictures: connect batches of equal length, or a single picture or mask"
        )
    count = max(len(masks), len(pictures))
    return [(pictures[i % len(pictures)], masks[i % len(masks)]) for i in range(count)]
