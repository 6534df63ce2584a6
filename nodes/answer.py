"""What the masks of a batch become in ComfyUI: outputs, and a preview under the node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io, ui

from ..ldznet_core import Segmentation
from ..ldznet_core.masks import union
from ..ldznet_core.overlay import heatmap
from ..ldznet_core.segmentation import NOTHING_READ
from .conversions import to_batch
from .schema import output

_ESTIMATE = "the latent still has noise: masks are of what its sampler took for the clean picture"


@dataclass(frozen=True, slots=True)
class Answer:
    """The masks of one picture of a batch."""

    segmentation: Segmentation
    reason: str = ""
    """Why a probe was made where captured features were hoped for."""
    is_of_attention: bool = False
    """Whether no trained head read it, but rules for the model's own attention."""
    is_of_estimate: bool = False
    """Whether the sampler left noise, so that what it took for the clean picture was read."""


def outputs() -> list[io.Output]:
    """The outputs of every node that makes masks, in the order of `node_output`."""
    return [
        output(
            io.Mask, "mask", "All phrases together, without the negative ones: one mask a picture."
        ),
        output(io.Mask, "masks", "One mask for each phrase, in their order.", is_list=True),
        output(io.Image, "heatmap", "How likely each pixel is, each phrase in its own colour."),
        output(
            io.Float,
            "scores",
            "How sure it is that each phrase is in the picture at all, 0 to 1; of a batch, in the "
            "picture where it is surest.",
            is_list=True,
        ),
        output(
            io.Mask,
            "probabilities",
            "Soft masks before threshold and negatives, one for each phrase.",
            is_list=True,
        ),
        output(io.String, "report", "In words: what was found, and where the features came from."),
        output(
            io.Boolean,
            "found",
            "Whether each phrase was found; of a batch, in any of its pictures.",
            is_list=True,
        ),
    ]


def node_output(
    node: type[io.ComfyNode], answers: Sequence[Answer], *, grow: int, feather: int
) -> io.NodeOutput:
    """The node's outputs for a batch, with the heat map and the report shown under the node.

    Args:
        node: Which was asked.
        answers: One for each picture.
        grow: Pixels by which masks reach further to every side.
        feather: Pixels over which their edges fade to either side.
    """
    found = [answer.segmentation for answer in answers]
    phrases = range(len(found[0].phrases))
    masks = [each.edged(grow, feather).masks for each in found]
    lights = to_batch([heatmap(each) for each in found])
    text = report(answers)
    shown: dict[str, Any] = ui.PreviewImage(lights, cls=node).as_dict()
    return io.NodeOutput(
        to_batch([union(each) for each in masks]),
        [to_batch([each[phrase] for each in masks]) for phrase in phrases],
        lights,
        [max(each.scores[phrase] for each in found) for phrase in phrases],
        [to_batch([each.probabilities[phrase] for each in found]) for phrase in phrases],
        text,
        [any(each.found[phrase] for each in found) for phrase in phrases],
        ui={**shown, "text": (text,)},
    )


def report(answers: Sequence[Answer]) -> str:
    """A line for each phrase, a hint if there is one, and a line on the features; by picture."""
    blocks = []
    for number, answer in enumerate(answers, start=1):
        title = [f"picture {number}"] if len(answers) > 1 else []
        noise = [_ESTIMATE] if answer.is_of_estimate else []
        blocks.append("\n".join([*title, *_lines(answer.segmentation), _origin(answer), *noise]))
    return "\n\n".join(blocks)


def _lines(masks: Segmentation) -> list[str]:
    verdicts = [
        f"{phrase}: {masks.verdict(index)}, score {masks.scores[index]:.2f}"
        for index, phrase in enumerate(masks.phrases)
    ]
    return [*verdicts, f"hint: {hint}"] if (hint := masks.hint()) else verdicts


def _origin(answer: Answer) -> str:
    source, timestep = answer.segmentation.source, answer.segmentation.timestep
    if source is None:
        return f"features: {NOTHING_READ}"
    how = "captured while sampling" if source == "sampling" else "from one extra pass (probe)"
    because = f", because {answer.reason}" if answer.reason else ""
    what = "attention " if answer.is_of_attention else ""
    return f"features: {what}{how} at t = {timestep:.0f}{because}"
