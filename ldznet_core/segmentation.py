"""What the head's logits say about the phrases: probabilities, scores and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .errors import InputError
from .masks import keep_present, presence_scores, resize, subtract, threshold_mask, union
from .phrases import check_phrases

NOTHING_READ = "none, this head reads the latents alone"
"""Where the features came from, in words, if there were none to read."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks of a picture, checked."""

    phrases: tuple[str, ...]
    negatives: tuple[str, ...]
    threshold: float

    @classmethod
    def checked(cls, phrases: Sequence[str], negatives: Sequence[str], threshold: float) -> Request:
        """The request, if it can be answered.

        Raises:
            InputError: A phrase is empty, there is none, or the threshold is no probability.
        """
        if not 0 < threshold < 1:
            raise InputError(
                f"expected a threshold between 0 and 1, got {threshold}: it is a probability"
            )
        return cls(check_phrases(phrases), check_phrases(negatives, may_be_none=True), threshold)

    @property
    def asked(self) -> tuple[str, ...]:
        """Everything that needs a pass: the phrases, then the negatives."""
        return self.phrases + self.negatives


@dataclass(frozen=True, slots=True)
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
    """``(P, H, W)`` of 0 and 1, negatives taken out; empty where nothing was found."""
    threshold: float
    """Probability above which a pixel is in the mask."""
    source: str | None
    """How the features came: "sampling" or "probe"; None if none were read or nothing tells."""
    timestep: float | None
    """Where on the noise schedule the features were taken; None as above."""


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
    masks = threshold_mask(probabilities, request.threshold)
    is_present = scores >= presence_threshold
    masks = keep_present(masks, is_present)
    wanted = len(request.phrases)
    masks = subtract(masks[:wanted], union(masks[wanted:]))
    return Segmentation(
        phrases=request.phrases,
        logits=logits[:wanted],
        probabilities=probabilities[:wanted],
        scores=scores[:wanted].tolist(),
        found=masks.flatten(1).any(dim=1).tolist(),
        present=is_present[:wanted].tolist(),
        masks=masks,
        threshold=request.threshold,
        source=source,
        timestep=timestep,
    )
