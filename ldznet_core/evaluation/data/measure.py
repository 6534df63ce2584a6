"""What both protocols measure: the rows of a data set, or scenes of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

from ...data_sets import Row
from ...data_sets.shapes import Mask
from ...errors import InputError
from ...miniature import Miniature
from ...picture_files import read_picture
from ...pictures import size_of
from ...segmenter import Segmenter
from ...world import Phrase
from ..cases import Case
from ..shown import Shown, show
from .figures import DataFigures, Measuring


def measure_data(
    segmenter: Segmenter,
    rows: Iterable[Row],
    threshold: float | None = None,
    on_phrases: Callable[[int], object] | None = None,
) -> DataFigures:
    """Segment every picture of a data set for all of its phrases.

    Args:
        segmenter: What is measured.
        rows: Those of a picture together.
        threshold: Of the masks; None is the head's own, which other pictures have chosen.
        on_phrases: Told when so many more phrases are done.

    Raises:
        InputError: A mask is missing or damaged, or no phrase can be measured.
    """
    measuring = Measuring(segmenter, threshold)
    for path, group in groupby(rows, key=lambda row: row.picture):
        asked = list(group)
        try:
            picture = read_picture(path).image
        except InputError as error:  # no reason to lose what the others gave
            measuring.leave_out(len(asked), str(error))
        else:
            fitting = [row for row in asked if row.size in (None, size_of(picture))]
            measuring.leave_out(len(asked) - len(fitting))
            measuring.add(Shown(picture), fitting)
        if on_phrases:
            on_phrases(len(asked))
    return measuring.figures()


def measure_cases(
    segmenter: Segmenter,
    cases: Iterable[Case],
    threshold: float | None = None,
    painter: Miniature | None = None,
) -> DataFigures:
    """Segment every scene for all of its phrases.

    Args:
        segmenter: What is measured.
        cases: The scenes, phrases and truths.
        threshold: Of the masks; None is the head's own, which other scenes have chosen.
        painter: Paints each scene anew, and its masks are read from that run; None leaves scenes
            as they are.

    Raises:
        InputError: No phrase can be measured, or what is painted has not the head's size.
    """
    measuring = Measuring(segmenter, threshold)
    for number, case in enumerate(cases):
        questions = [_question(case, phrase) for phrase in case.phrases]
        measuring.add(show(case, number, painter), questions)
    return measuring.figures()


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A mask that is known exactly."""

    pixels: Mask

    def mask(self, size: tuple[int, int]) -> Mask:
        """The mask, whose size is its scene's."""
        return self.pixels


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    phrase: str
    truth: _Drawn
    is_absent: bool


def _question(case: Case, phrase: Phrase) -> _Question:
    return _Question(phrase.text, _Drawn(case.mask(phrase)), phrase.is_absent)
