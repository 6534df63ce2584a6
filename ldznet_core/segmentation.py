"""What the head's logits say about the phrases: probabilities, scores and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .checks import checked_threshold
from .masks import (
    assume_present,
    feather,
    grow,
    keep_present,
    presence_scores,
    resize,
    subtract,
    threshold_mask,
    union,
)
from .phrases import check_negatives, check_phrases, hint_on_lines

NOTHING_READ = "none, this head reads the latents alone"
"""Where the features came from, in words, if there were none to read."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks of a picture, checked."""

    phrases: tuple[str, ...]
    negatives: tuple[str, ...]
    threshold: float
    keep_absent: bool = False
    """Whether a phrase whose thing is told not to be there has a mask nevertheless."""

    @classmethod
    def checked(
        cls,
        phrases: Sequence[str],
        negatives: Sequence[str],
        threshold: float,
        keep_absent: bool = False,
    ) -> Request:
        """The request, if it can be answered.

        Raises:
            InputError: A phrase is empty, there is none, or the threshold is no probability.
        """
        return cls(
            check_phrases(phrases),
            check_negatives(negatives),
            checked_threshold(threshold),
            keep_absent,
        )

    @property
    def asked(self) -> tuple[str, ...]:
        """Everything that needs a pass: the phrases, then the negatives."""
        return self.phrases + self.negatives


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Masks of one picture, one for each phrase, and what they were made from."""

    phrases: tuple[str, ...]
    logits: Tensor
    """``(P, H, W)`` float32; above 0 the thing is likelier than not."""
    probabilities: Tensor
    """``(P, H, W)`` in [0, 1]: the logits' sigmoid, before threshold and negatives."""
    scores: list[float]
    """How surely each thing is there at all, in [0, 1]: the mean of its best 1 % of pixels."""
    found: list[bool]
    """Whether the thing is present and its mask is not empty."""
    present: list[bool]
    """Whether the score reaches the head's presence threshold."""
    masks: Tensor
    """``(P, H, W)`` of 0 and 1, negatives taken out; empty where nothing was found, unless masks of
    absent things were asked for."""
    removed: Tensor
    """``(H, W)`` of 0 and 1: what the negatives that were found take out."""
    threshold: float
    """Probability above which a pixel is in the mask."""
    source: str | None
    """How the features came: "sampling" or "probe"; None if none were read or nothing tells."""
    timestep: float | None
    """Where on the noise schedule the features were taken; None as above."""

    def edged(self, pixels_grown: int, pixels_feathered: int) -> Segmentation:
        """With masks that are grown, but not over what negatives take out, and then feathered.

        Args:
            pixels_grown: By how much they reach further to every side, as in `masks.grow`.
            pixels_feathered: Over how many their edges fade to either side, as in `masks.feather`.
        """
        if not pixels_grown and not pixels_feathered:
            return self
        grown = subtract(grow(self.masks, pixels_grown), self.removed)
        return replace(self, masks=feather(grown, pixels_feathered))

    def verdict(self, index: int) -> str:
        """What became of a phrase, in words."""
        if self.found[index]:
            return "found"
        if self.present[index]:
            return "there, but nothing is left of its mask"
        return "not there (mask kept)" if self.masks[index].any() else "not there"

    def hint(self) -> str:
        """What may help to find more, in words; "" if nothing comes to mind."""
        return hint_on_lines(self.phrases, self.present)


def read_logits(
    logits: Tensor,
    request: Request,
    size: tuple[int, int],
    presence_threshold: float,
    source: str | None = None,
    timestep: float | None = None,
) -> Segmentation:
    """The answer to a request.

    A negative that is not found takes nothing away. Scores are of the logits as they came, so
    that they do not depend on the size asked for.

    Args:
        logits: ``(P, h, w)`` float32, of the phrases and then the negatives.
        request: What was asked.
        size: (height, width) of the masks; the logits are resized to it.
        presence_threshold: The score from which a thing counts as found.
        source: Passed on.
        timestep: Passed on.
    """
    scores = presence_scores(logits.sigmoid())
    logits = resize(logits, size)
    probabilities = logits.sigmoid()
    is_present = scores >= presence_threshold
    masks = keep_present(threshold_mask(probabilities, request.threshold), is_present)
    wanted = len(request.phrases)
    removed = union(masks[wanted:])
    if request.keep_absent:
        shapes = threshold_mask(assume_present(probabilities, scores), request.threshold)
        masks = torch.where(is_present[:, None, None], masks, shapes)
    masks = subtract(masks[:wanted], removed)
    has_any = masks.flatten(1).any(dim=1)
    return Segmentation(
        phrases=request.phrases,
        logits=logits[:wanted],
        probabilities=probabilities[:wanted],
        scores=scores[:wanted].tolist(),
        found=(is_present[:wanted] & has_any).tolist(),
        present=is_present[:wanted].tolist(),
        masks=masks,
        removed=removed,
        threshold=request.threshold,
        source=source,
        timestep=timestep,
    )
