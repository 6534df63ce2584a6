"""A segmenter on pictures and phrases, by CLIPSeg's protocol and by PhraseCut's.

CLIPSeg's squashes each picture to the square on which the head was trained, and the truth with it;
the average precision and the calibration of pixels are measured there too. PhraseCut's has pictures
in their own proportions and masks at their own size. Phrases that are known to name nothing in
their picture count in neither, but show how well the head tells what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ...data_sets.rows import Truth
from ...data_sets.shapes import Mask
from ...errors import InputError
from ...metrics.clipseg import ClipSegFigures, ClipSegTally
from ...metrics.phrasecut import PhraseCutFigures, PhraseCutTally
from ...metrics.ranking import PixelRanking
from ...metrics.reliability import Reliability, ReliabilityFigures
from ...pictures import size_of
from ...segmentation import Segmentation
from ...segmenter import Segmenter
from ..shown import Shown

_PIXELS_AT_ONCE = 2**24  # of a picture's maps in memory: 16 phrases at 1024x1024


@dataclass(frozen=True, slots=True)
class DataFigures:
    """What was measured on phrases; shares, IoUs and precisions in [0, 1], None where of none."""

    pictures: int
    left_out: int
    """Phrases whose picture is damaged, or of another size than their mask was drawn for."""
    damaged: tuple[str, ...]
    """A sentence on each picture that cannot be read."""
    side: int
    """Of the squares of CLIPSeg's protocol, in pixels."""
    clipseg: ClipSegFigures
    pixel_ap: float | None
    """Average precision of all the squares' pixels, with every probability as a threshold."""
    every_mask: PhraseCutFigures
    """PhraseCut's protocol, whether the head says that the thing is there or not."""
    found_masks: PhraseCutFigures
    """The same with those masks missing whose thing the head does not find, as users get them."""
    pixels: ReliabilityFigures | None
    """Of the squares' probabilities."""
    scores: ReliabilityFigures | None
    """Of the scores, on what is there and what is not; None if everything is there."""
    presence_threshold: float
    present_found: float
    absent: int
    """Phrases that name nothing in their picture."""
    absent_rejected: float | None


class Question(Protocol):
    """A phrase that is asked of a picture."""

    @property
    def phrase(self) -> str: ...  # noqa: D102
    @property
    def truth(self) -> Truth:
        """The mask that answers it; nobody looks at that of what is absent."""

    @property
    def is_absent(self) -> bool:
        """Whether the picture is known not to show what the phrase names."""


def squashed(picture: Image.Image, side: int) -> Image.Image:
    """A picture as a square, by CLIPSeg's interpolation: bilinear, corners on corners."""
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1)[None]
    square = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=True)[0]
    levels = square.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(levels)


def squashed_mask(mask: Mask, side: int) -> Mask:
    """A mask ``(H, W)`` as a square, by CLIPSeg's interpolation: the nearest pixel."""
    pixels = torch.from_numpy(mask.astype(np.float32))[None, None]
    square: Mask = F.interpolate(pixels, (side, side), mode="nearest")[0, 0].numpy() > 0.5
    return square


class Measuring:
    """All tallies, fed picture by picture."""

    def __init__(self, segmenter: Segmenter, threshold: float | None) -> None:
        """Begin with nothing.

        Args:
            segmenter: What is measured.
            threshold: Of the masks; None is the head's own, which other pictures have chosen.
        """
        config = segmenter.head.config
        self._segmenter = segmenter
        self._threshold = config.mask_threshold if threshold is None else threshold
        self._side = config.image_side
        self._presence_threshold = config.presence_threshold
        self._clipseg = ClipSegTally(self._threshold)
        self._ranking = PixelRanking()
        self._pixels, self._scores = Reliability(), Reliability()
        self._every, self._found = PhraseCutTally(), PhraseCutTally()
        self._pictures = self._left_out = 0
        self._damaged: list[str] = []
        self._absent = self._rejected = self._present = self._present_found = 0

    def leave_out(self, phrases: int, damage: str | None = None) -> None:
        """Count phrases that are not asked, and keep the sentence on a damaged picture."""
        self._left_out += phrases
        if damage is not None:
            self._damaged.append(damage)

    def add(self, shown: Shown, questions: Sequence[Question]) -> None:
        """Measure the phrases of a picture, asked twice unless it is such a square already.

        Raises:
            InputError: The miniature has painted it in another size than that of the squares, at
                which there is nothing that was captured.
        """
        size = size_of(shown.picture)
        is_square = size == (self._side, self._side)
        if shown.painted and not is_square:
            raise InputError(
                f"expected a head that was trained on pictures of {size[1]}x{size[0]}, as they are "
                f"painted, got one of {self._side}x{self._side}: take another, or another split"
            )
        self._pictures += bool(questions)
        for some in _in_turns(questions, max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))):
            given = self._ask(shown, some)
            self._add_native(given, some, size)
            here = [index for index, question in enumerate(some) if not question.is_absent]
            if not here:
                continue
            if is_square:
                self._add_square(given, here, some, size)
                continue
            present = [some[index] for index in here]
            again = self._ask(Shown(squashed(shown.picture, self._side)), present)
            self._add_square(again, range(len(present)), present, size)

    def figures(self) -> DataFigures:
        """The figures of all pictures so far."""
        if not self._present:
            raise InputError(
                "expected at least one phrase that names something in its picture, got none, and "
                f"{self._left_out} of pictures that are damaged or of another size than their "
                "masks: check the pictures"
            )
        return DataFigures(
            pictures=self._pictures,
            left_out=self._left_out,
            damaged=tuple(self._damaged),
            side=self._side,
            clipseg=self._clipseg.figures(),
            pixel_ap=self._ranking.average_precision(),
            every_mask=self._every.figures(),
            found_masks=self._found.figures(),
            pixels=self._pixels.figures(),
            scores=self._scores.figures() if self._absent else None,
            presence_threshold=self._presence_threshold,
            present_found=self._present_found / self._present,
            absent=self._absent,
            absent_rejected=self._rejected / self._absent if self._absent else None,
        )

    def _ask(self, shown: Shown, questions: Sequence[Question]) -> Segmentation:
        phrases = [question.phrase for question in questions]
        return shown.segment(self._segmenter, phrases, self._threshold)

    def _add_native(
        self, given: Segmentation, questions: Sequence[Question], size: tuple[int, int]
    ) -> None:
        """PhraseCut's protocol, and what is there at all."""
        masks = (given.probabilities > self._threshold).cpu().numpy()
        for index, question in enumerate(questions):
            is_found = given.found[index]
            self._scores.add([given.scores[index]], [not question.is_absent])
            if question.is_absent:
                self._absent += 1
                self._rejected += not is_found
                continue
            truth = question.truth.mask(size)
            self._present += 1
            self._present_found += is_found
            self._every.add(masks[index], truth)
            self._found.add(masks[index] if is_found else None, truth)

    def _add_square(
        self,
        given: Segmentation,
        at: Iterable[int],
        questions: Sequence[Question],
        size: tuple[int, int],
    ) -> None:
        """CLIPSeg's protocol, and the pixels' precision and calibration."""
        for index in at:
            probabilities = given.probabilities[index].cpu().numpy()
            truth = squashed_mask(questions[index].truth.mask(size), self._side)
            self._clipseg.add(probabilities, truth)
            self._ranking.add(probabilities, truth)
            self._pixels.add(probabilities, truth)


def _in_turns(questions: Sequence[Question], count: int) -> Iterator[Sequence[Question]]:
    for start in range(0, len(questions), count):
        yield questions[start : start + count]
