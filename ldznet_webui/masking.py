"""Masks of a picture: by what was heard while it was made, or by a probe of the host's model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ldznet_core import Features, InputError, Segmentation, Segmenter
from ldznet_core.capture import Missing
from ldznet_core.pictures import size_of, to_picture
from ldznet_core.training_free import TrainingFree

from .answer import Answer
from .heads import KEEPER, choose_head, reads_features
from .host import Host
from .precision import CarefulHead
from .settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image

PHRASES_PER_PASS = 4
"""As much memory as sampling a batch of two with guidance; fixed, as the masks depend on it."""


@dataclass(frozen=True, slots=True)
class Painted:
    """A picture that the host has made, and what was heard while it did."""

    picture: Image
    size: tuple[int, int]
    """(height, width) at which it was sampled; what came after may have changed it."""
    latents: Tensor | None
    """``(1, C, h, w)`` as they were sampled; None if only the picture is left of them."""
    features: Features | Missing
    was_cut_short: bool = False
    """Whether the user did not let it be finished."""


def mask_picture(host: Host, picture: Image, settings: Settings, reason: str = "") -> Answer:
    """Masks of any picture, by probes.

    Args:
        host: Whose model looks.
        picture: Of any mode and size.
        settings: What is asked.
        reason: Why no features were captured, if some were hoped for.

    Raises:
        LDZNetError: Nothing can be masked; the message says why.
    """

    def segment(segmenter: Segmenter) -> Segmentation:
        return segmenter.segment_image(picture, *_asked(settings))

    return _answer(host, settings, segment, reason)


def mask_painted(host: Host, painted: Painted, settings: Settings) -> Answer:
    """Masks of a picture that the host has made, by the features that its settings allow.

    Args:
        host: Whose model looks.
        painted: The picture.
        settings: What is asked; the head in them is a name, not auto.

    Raises:
        LDZNetError: Nothing can be masked; the message says why.
    """
    needs_features = reads_features(settings.head, host.heads_folder())
    if settings.source == "probe" or not needs_features:
        return mask_picture(host, painted.picture, settings)
    features = painted.features
    if isinstance(features, Missing):
        if painted.was_cut_short:  # whoever stops a picture does not want to wait for its masks
            raise InputError(
                "expected features captured while sampling, got none, because generation was "
                "interrupted before it showed any: set Features (source) to probe, or let it finish"
            )
        if settings.source == "sampling":
            raise InputError(
                f"expected features captured while sampling, got none, because {features.reason}: "
                "set Features (source) to auto or probe"
            )
        return mask_picture(host, painted.picture, settings, features.reason)
    heard = features

    def segment(segmenter: Segmenter) -> Segmentation:
        latents = painted.latents
        if latents is None or segmenter.reads_latents:
            latents = segmenter.latents_of(painted.picture, painted.size)
        size = size_of(to_picture(painted.picture))
        return segmenter.segment_features(latents, heard, *_asked(settings), size=size)

    return _answer(host, settings, segment, "")


def _answer(
    host: Host, settings: Settings, segment: Callable[[Segmenter], Segmentation], reason: str
) -> Answer:
    settings.check()
    backbone = host.backbone()
    head = choose_head(settings.head, backbone.family, host.heads_folder())
    with KEEPER.at_work(head, host.heads_folder(), host.device(), host.head_dtype()) as network:
        segmenter = Segmenter(
            backbone,
            network if isinstance(network, TrainingFree) else CarefulHead(network),
            phrases_per_pass=PHRASES_PER_PASS,
            keep_absent=settings.keep_absent,
        )
        return Answer(segment(segmenter), settings, head, host.model_name(), reason)


def _asked(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...], float]:
    return settings.phrases, settings.negative_phrases, settings.threshold
