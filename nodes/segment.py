"""The nodes that make masks: of a sampled latent, and of any picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Literal

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.utils import ProgressBar
from comfy_api.latest import io
from torch import Tensor

from ..ldznet_core import Features, InputError, Segmenter
from ..ldznet_core.capture import Missing
from ..ldznet_core.phrases import check_phrases, parse_phrases
from ..ldznet_core.training_free import Place, TrainingFree
from .answer import Answer, node_output, outputs
from .auto_head import AutoHead, FittedHead, fitted
from .backbone import ComfyBackbone, check_trained
from .bank import BANK
from .conversions import latents_of, pictures_of
from .edges import edge_inputs
from .schema import CATEGORY, described
from .sockets import HeadSocket

PHRASES_PER_PASS = 4
"""As much memory as sampling a batch of two with guidance; fixed, as the masks depend on it."""


class LDZNetSegment(io.ComfyNode):
    """Masks of what a sampler has just painted."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's interface."""
        return described(
            node_id="LDZNetSegment",
            display_name="LD-ZNet Segment",
            category=CATEGORY,
            description=(
                "Masks of named things in a sampled picture, by what the diffusion model itself "
                "saw while it painted. A thing that is not there gives an empty mask and a low "
                "score."
            ),
            search_aliases=["text to mask", "segmentation", "clipseg", "sam", "select by text"],
            is_output_node=True,
            inputs=[
                *_networks(),
                io.Latent.Input(
                    "samples", tooltip="Straight from the sampler, so that its features are found."
                ),
                *_request(),
                io.Combo.Input(
                    "source",
                    options=["auto", "sampling", "probe"],
                    default="auto",
                    tooltip=(
                        "Where the features come from. auto: what LD-ZNet Capture recorded, else "
                        "one extra pass; sampling: only what was recorded; probe: always one extra "
                        "pass (heads of the paper's design: one per phrase)."
                    ),
                ),
                *_options(),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip=(
                        "The VAE of the same checkpoint. With it trained heads see the picture as "
                        "it came out, and find more; it takes one decode and one encode more."
                    ),
                ),
            ],
            outputs=outputs(),
        )

    @classmethod
    def validate_inputs(cls, phrases: str | None) -> bool | str:
        """Refuse an empty list of phrases before anything is sampled."""
        return _verdict(phrases)

    @classmethod
    def execute(
        cls,
        head: AutoHead | FittedHead,
        model: io.Model.Type,
        clip: io.Clip.Type,
        samples: io.Latent.Type,
        phrases: str,
        threshold: float,
        source: Literal["auto", "sampling", "probe"],
        negative_phrases: str = "",
        grow: int = 0,
        feather: int = 0,
        keep_absent: bool = False,
        vae: io.Vae.Type | None = None,
    ) -> io.NodeOutput:
        """Find each picture's features, or make a probe, and read the masks off them."""
        backbone = ComfyBackbone(model, clip, vae)
        head = fitted(head, backbone.family)
        asked = (parse_phrases(phrases), parse_phrases(negative_phrases), threshold)
        pictures = latents_of(samples)
        segmenter = _segmenter(backbone, head, len(pictures), asked, keep_absent)
        config, is_free = segmenter.head.config, isinstance(head, TrainingFree)

        looked_at = (
            backbone.seen if vae is not None and segmenter.reads_latents else backbone.scaled
        )

        def masks_of(samples: Tensor) -> Answer:
            seen = BANK.seen(samples)
            is_noisy = seen.clean is not None
            clean = samples if seen.clean is None else seen.clean
            if config.reads == "nothing":
                masks = segmenter.segment_latents(looked_at(clean), *asked)
                return Answer(masks, is_of_estimate=is_noisy)
            captured = Missing("") if source == "probe" else seen.features(segmenter.aim)
            captured = _with_all(captured, config.taps)
            if not isinstance(captured, Missing):
                masks = segmenter.segment_features(looked_at(clean), captured, *asked)
                return Answer(masks, "", is_free, is_noisy)
            if source == "sampling":
                raise InputError(
                    "expected features captured while this latent was sampled, got none, because "
                    f"{captured.reason}: choose the source auto or probe"
                )
            masks = segmenter.segment_latents(looked_at(clean), *asked)
            return Answer(masks, captured.reason, is_free, is_noisy)

        return node_output(cls, _each(pictures, masks_of), grow=grow, feather=feather)


class LDZNetSegmentImage(io.ComfyNode):
    """Masks of any picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's interface."""
        return described(
            node_id="LDZNetSegmentImage",
            display_name="LD-ZNet Segment Image",
            category=CATEGORY,
            description=(
                "Masks of named things in any picture: it is encoded, and the diffusion model "
                "looks at it once. A thing that is not there gives an empty mask."
            ),
            search_aliases=["text to mask", "segmentation", "clipseg", "sam", "select by text"],
            is_output_node=True,
            inputs=[
                *_networks(),
                io.Vae.Input("vae", tooltip="The VAE of the same checkpoint."),
                io.Image.Input("image", tooltip="Any picture or batch of pictures, of any size."),
                *_request(),
                *_options(),
            ],
            outputs=outputs(),
        )

    @classmethod
    def validate_inputs(cls, phrases: str | None) -> bool | str:
        """Refuse an empty list of phrases before anything is loaded."""
        return _verdict(phrases)

    @classmethod
    def execute(
        cls,
        head: AutoHead | FittedHead,
        model: io.Model.Type,
        clip: io.Clip.Type,
        vae: io.Vae.Type,
        image: Tensor,
        phrases: str,
        threshold: float,
        negative_phrases: str = "",
        grow: int = 0,
        feather: int = 0,
        keep_absent: bool = False,
    ) -> io.NodeOutput:
        """Encode each picture, make the probes, and read the masks off them."""
        backbone = ComfyBackbone(model, clip, vae)
        head = fitted(head, backbone.family)
        asked = (parse_phrases(phrases), parse_phrases(negative_phrases), threshold)
        pictures = pictures_of(image)
        segmenter = _segmenter(backbone, head, len(pictures), asked, keep_absent)

        def masks_of(picture: Tensor) -> Answer:
            masks = segmenter.segment_image(picture, *asked)
            return Answer(masks, is_of_attention=isinstance(head, TrainingFree))

        return node_output(cls, _each(pictures, masks_of), grow=grow, feather=feather)


def _networks() -> list[io.Input]:
    return [
        HeadSocket.Input("head", tooltip="From Load LD-ZNet Head: made for this model, or auto."),
        io.Model.Input(
            "model", tooltip="The model that painted the picture, or one of its family."
        ),
        io.Clip.Input("clip", tooltip="The CLIP of the same checkpoint."),
    ]


def _request() -> list[io.Input]:
    return [
        io.String.Input(
            "phrases",
            multiline=True,
            tooltip='What to mask, one phrase a line, such as "the red car". Each gets a mask.',
            placeholder="one phrase a line",
        ),
        io.Float.Input(
            "threshold",
            default=0.5,
            min=0.01,
            max=0.99,
            step=0.01,
            tooltip="How sure a pixel must be to be in the mask. Lower: a larger mask.",
        ),
    ]


def _options() -> list[io.Input]:
    return [
        io.String.Input(
            "negative_phrases",
            multiline=True,
            optional=True,
            default="",
            tooltip=(
                "What to take out of every mask, one phrase a line; what is absent takes nothing."
            ),
            placeholder="take out of every mask (optional)",
        ),
        *edge_inputs(),
        io.Boolean.Input(
            "keep_absent",
            default=False,
            optional=True,
            tooltip=(
                "Make a mask even where the score says that the thing is not there: where it would "
                "be likeliest. Scores and report stay honest."
            ),
        ),
    ]


def _verdict(phrases: str | None) -> bool | str:
    """What ComfyUI is told of the phrases; None stands for a wire, whose text is not known yet."""
    if phrases is not None:
        try:
            check_phrases(parse_phrases(phrases))
        except InputError as error:
            return str(error)
    return True


def _segmenter(
    backbone: ComfyBackbone,
    head: FittedHead,
    pictures: int,
    asked: tuple[Sequence[str], Sequence[str], float],
    keep_absent: bool,
) -> Segmenter:
    """The segmenter, which moves the node's progress bar after each of its passes."""
    if not isinstance(head, TrainingFree):
        check_trained(backbone.family)
    phrases, negatives, _ = asked
    passes = ceil((len(phrases) + len(negatives)) / PHRASES_PER_PASS)
    bar = ProgressBar(pictures * passes)
    return Segmenter(
        backbone,
        head,
        phrases_per_pass=PHRASES_PER_PASS,
        on_pass=lambda: bar.update(1),
        keep_absent=keep_absent,
    )


def _with_all(captured: Features | Missing, taps: Sequence[int | Place]) -> Features | Missing:
    """What was captured, if all that a head reads is in it."""
    if isinstance(captured, Missing):
        return captured
    missing = [tap for tap in taps if tap not in captured.blocks]
    blocks = sorted(tap for tap in missing if isinstance(tap, int))
    if blocks:
        where = _in_words(blocks)
        return Missing(f"LD-ZNet Capture did not listen to {where} (connect this head to it)")
    if missing:
        return Missing("LD-ZNet Capture did not listen for attention (connect this head to it)")
    return captured


def _in_words(blocks: Sequence[int]) -> str:
    """Block numbers in a sentence, such as "block 6", or "blocks 6, 7 and 15"."""
    *others, last = map(str, blocks)
    return f"blocks {', '.join(others)} and {last}" if others else f"block {last}"


def _each(pictures: Sequence[Tensor], masks_of: Callable[[Tensor], Answer]) -> list[Answer]:
    """The answer for each picture, as long as nobody interrupts."""
    answers = []
    for picture in pictures:
        throw_exception_if_processing_interrupted()
        answers.append(masks_of(picture))
    return answers
