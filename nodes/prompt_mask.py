"""The node that masks what a whole prompt was about, off the guidance of the run itself."""

from __future__ import annotations

from comfy_api.latest import io, ui
from torch import Tensor

from ..ldznet_core import InputError, Segmentation
from ..ldznet_core.capture import Missing
from ..ldznet_core.overlay import heatmap
from ..ldznet_core.training_free.whole_prompt import THRESHOLD, segment_prompt
from .bank import BANK
from .conversions import latents_of, to_batch
from .edges import edge_inputs
from .schema import CATEGORY, described, output


class LDZNetPromptMask(io.ComfyNode):
    """The mask of all that a sampler's prompt named."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's interface."""
        return described(
            node_id="LDZNetPromptMask",
            display_name="LD-ZNet Prompt Mask",
            category=CATEGORY,
            description=(
                "A mask of everything your prompt describes, for a picture sampled after LD-ZNet "
                "Capture. It needs no head, no phrase and no extra pass: it shows where the prompt "
                "changed the picture compared with the negative prompt. For a mask of one thing, "
                "use LD-ZNet Segment."
            ),
            search_aliases=["subject mask", "saliency", "foreground", "diffedit"],
            is_output_node=True,
            inputs=[
                io.Latent.Input(
                    "samples",
                    tooltip="Straight from the sampler, with LD-ZNet Capture before that sampler.",
                ),
                io.Float.Input(
                    "threshold",
                    default=THRESHOLD,
                    min=0.01,
                    max=0.99,
                    step=0.01,
                    tooltip="How strongly the prompt must act on a pixel. Lower: a larger mask.",
                ),
                *edge_inputs(),
            ],
            outputs=[
                output(io.Mask, "mask", "What the prompt describes: one mask per picture."),
                output(io.Image, "heatmap", "Where the prompt acts: the brighter, the more."),
            ],
        )

    @classmethod
    def execute(
        cls, samples: io.Latent.Type, threshold: float, grow: int = 0, feather: int = 0
    ) -> io.NodeOutput:
        """Find what the run of each picture showed, and read the mask off it."""
        found = [_segmentation_of(picture, threshold) for picture in latents_of(samples)]
        lights = to_batch([heatmap(each) for each in found])
        return io.NodeOutput(
            to_batch([each.edged(grow, feather).masks[0] for each in found]),
            lights,
            ui=ui.PreviewImage(lights, cls=cls).as_dict(),
        )


def _segmentation_of(picture: Tensor, threshold: float) -> Segmentation:
    difference = BANK.seen(picture).difference
    if isinstance(difference, Missing):
        raise InputError(
            "expected a latent sampled with guidance after LD-ZNet Capture, got one of which "
            f"nothing was kept, because {difference.reason}: put LD-ZNet Capture before its "
            "sampler, with a CFG above 1 and a higher denoise"
        )
    return segment_prompt(difference, threshold)
