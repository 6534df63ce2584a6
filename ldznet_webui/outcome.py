"""What is kept of a picture's masks until the host shows its results: pictures and words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ldznet_core.naming import mask_names

from .answer import Answer

if TYPE_CHECKING:
    from PIL.Image import Image


class Labelled(NamedTuple):
    """A picture to be shown or saved."""

    image: Image
    parameters: dict[str, Any]
    """What its infotext says besides that of the picture it belongs to."""
    suffix: str
    """Of its file's name."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the masks of one picture; it holds no tensor."""

    masks: tuple[Labelled, ...] = ()
    """One for each phrase, if they are to be shown or saved."""
    overlay: Labelled | None = None
    """The picture with its masks in colour, if that is to be shown."""
    summary: str = ""
    """What was found, in words."""
    problem: str = ""
    """Why there are no masks: a sentence."""

    @classmethod
    def of(cls, answer: Answer, picture: Image) -> Outcome:
        """As much of an answer as its settings want."""
        settings = answer.settings
        masks: tuple[Labelled, ...] = ()
        if settings.append or settings.save:
            names = mask_names(answer.segmentation.phrases)
            masks = tuple(
                Labelled(mask, answer.infotext(index), f"-{name}")
                for index, (name, mask) in enumerate(zip(names, answer.masks(), strict=True))
            )
        overlay = None
        if settings.overlay:
            overlay = Labelled(answer.overlay(picture), answer.origin(), "")
        return cls(masks, overlay, answer.summary())
