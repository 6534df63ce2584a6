"""Examples to learn from: square views of a data set's pictures, phrases, and their masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from ...data_sets import Row
from ...data_sets.shapes import Mask
from ...errors import InputError
from ...phrases import fill_template
from ...picture_files import read_picture
from ...pictures import size_of
from ...world.draw import Draw, stable_hash
from ..plan import Batch, Plan
from ..randomness import timestep_from
from .crops import Square, square_around, varied
from .wording import may_mean_the_same, tells_sides

_LEFT = 0.5  # share of a thing's pixels that a view must show to ask for it
_UNTOLD = 0.5  # share of features that saw no text, where several phrases share them
_OWN_ABSENT = 0.5  # share of absent phrases from those that the data set itself calls absent
_TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How examples are made.

    Attributes:
        side: of the square views, in pixels.
        phrases: asked of each view.
        negatives: share of phrases that name nothing in their picture, whose masks are empty.
        template: what each phrase is put into, as the head will have it.
    """

    side: int
    phrases: int
    negatives: float
    template: str


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A view of a picture, and what is asked of it.

    Attributes:
        picture: RGB, square.
        phrases: as the data set has them.
        masks: ``(P, S, S)``; empty where a phrase names nothing.
        condition: the phrase that conditions the features, or none.
        timestep: of the features.
        noise_seed: of the features.
    """

    picture: Image.Image
    phrases: tuple[str, ...]
    masks: Mask
    condition: str
    timestep: int
    noise_seed: int


class Examples:
    """Makes examples of rows; what it makes is a pure function of the row's number and the draw."""

    def __init__(self, rows: Sequence[Row], asking: Asking) -> None:
        """Sort the rows.

        Args:
            rows: Of the pictures that may be learned from. Those that are absent serve as
                negatives of their own pictures.
            asking: How examples are made.

        Raises:
            InputError: No row names anything in its picture.
        """
        self.asking = asking
        self._rows = [row for row in rows if not row.is_absent]
        if not self._rows:
            raise InputError(
                "expected rows with masks to learn from, got none: choose another split or folder"
            )
        self._of: dict[Path, list[Row]] = {}
        for row in rows:
            self._of.setdefault(row.picture, []).append(row)

    def __len__(self) -> int:
        """How many rows name something in their picture."""
        return len(self._rows)

    def fingerprint(self) -> str:
        """Tells these rows from others: by the names of their pictures, and their phrases."""
        told = [f"{row.picture.name}\t{row.phrase}" for rows in self._of.values() for row in rows]
        return f"{stable_hash(*told):032x}"

    def batch(self, plan: Plan, step: int, process: int) -> Batch:
        """The views of random rows, as `together` gives them."""
        draw = Draw("data", plan.seed, step, process)
        chosen = [self.example(draw.below(len(self)), draw) for _ in range(plan.batch)]
        return together(chosen, self.asking.template)

    def example(self, index: int, draw: Draw) -> Example:
        """A view of a row's picture: of the next row's, if its size is not that of the masks.

        Args:
            index: Of the row.
            draw: Makes all choices.

        Raises:
            InputError: A picture or mask is missing, damaged, or of no use.
        """
        for offset in range(len(self)):
            row = self._rows[(index + offset) % len(self)]
            picture = read_picture(row.picture).image
            if row.size in (None, size_of(picture)):
                return self._example(row, picture, draw)
        raise InputError(
            "expected pictures of the sizes that their masks were drawn for, got none: put the "
            "data set's own pictures into its folder"
        )

    def absent_phrase(self, picture: Path, draw: Draw) -> str | None:
        """A phrase that nothing in a picture answers, as far as its rows tell.

        Half come from the rows that the data set calls absent, if the picture has any, and the
        others from other pictures: those that speak of nothing that a phrase of this one asks for,
        nor the other way round.

        Returns:
            None if none was found.
        """
        rows = self._of.get(picture, [])
        absent = [row.phrase for row in rows if row.is_absent]
        if absent and draw.chance(_OWN_ABSENT):
            return draw.choice(absent)
        present = [row.phrase for row in rows if not row.is_absent]
        for _ in range(_TRIES):
            phrase = draw.choice(self._rows).phrase
            if not any(may_mean_the_same(phrase, own) for own in present):
                return phrase
        return draw.choice(absent) if absent else None

    def _example(self, row: Row, picture: Image.Image, draw: Draw) -> Example:
        asking = self.asking
        mask = row.truth.mask(size_of(picture))
        square = square_around(mask, draw)
        wanted = [draw.chance(asking.negatives) for _ in range(asking.phrases)]
        absent = [self.absent_phrase(row.picture, draw) if wants else None for wants in wanted]
        shown = self._shown(row, mask, square, absent.count(None), draw)
        turns = iter(range(asking.phrases))
        nothing = np.zeros((asking.side, asking.side), dtype=np.bool_)
        asked = [
            (phrase, nothing) if phrase is not None else shown[next(turns) % len(shown)]
            for phrase in absent
        ]
        view = varied(square.picture(picture, asking.side), draw)
        masks = np.stack([each for _, each in asked])
        if draw.chance(0.5) and not any(tells_sides(phrase) for phrase, _ in asked):
            view, masks = ImageOps.mirror(view), np.ascontiguousarray(masks[:, :, ::-1])
        phrases = tuple(phrase for phrase, _ in asked)
        return Example(
            picture=view,
            phrases=phrases,
            masks=masks,
            condition=self._condition(phrases, shown[0][0], draw),
            timestep=timestep_from(draw),
            noise_seed=draw.below(2**31),
        )

    def _shown(
        self, row: Row, mask: Mask, square: Square, count: int, draw: Draw
    ) -> list[tuple[str, Mask]]:
        """The row's phrase, and as many others as are wanted of what a view shows enough of."""
        side = self.asking.side
        shown = [(row.phrase, square.mask(mask, side))]
        others = [each for each in self._of[row.picture] if each is not row and not each.is_absent]
        for other in self._fitting(draw.shuffled(others) if count > 1 else [], mask.shape):
            if len(shown) >= count:
                break
            whole = other.truth.mask((mask.shape[0], mask.shape[1]))
            if square.part(whole).sum() > _LEFT * whole.sum():
                shown.append((other.phrase, square.mask(whole, side)))
        return shown

    def _fitting(self, rows: Sequence[Row], size: tuple[int, ...]) -> Iterator[Row]:
        return (row for row in rows if row.size in (None, size))

    def _condition(self, phrases: tuple[str, ...], present: str, draw: Draw) -> str:
        """A head that is asked one phrase has the features under it, as where it is used.

        Others share features: those of a sampler saw its prompt, those of a probe no text.
        """
        if len(phrases) == 1:
            return phrases[0]
        return "" if draw.chance(_UNTOLD) else present


def together(examples: Sequence[Example], template: str) -> Batch:
    """Examples as the objective takes them.

    ``pictures`` (a list of S), ``phrases`` (P texts, P / S of each picture), ``conditions``
    (S texts, the empty one without a template), ``masks`` (P, H, W) bool, ``timesteps`` (S,) and
    ``noise_seeds`` (a list of S).
    """
    phrases = [phrase for each in examples for phrase in each.phrases]
    conditions = [each.condition for each in examples]
    return {
        "pictures": [each.picture for each in examples],
        "phrases": fill_template(template, phrases),
        "conditions": [fill_template(template, [text])[0] if text else "" for text in conditions],
        "masks": torch.from_numpy(np.concatenate([each.masks for each in examples])),
        "timesteps": torch.tensor([each.timestep for each in examples]),
        "noise_seeds": [each.noise_seed for each in examples],
    }
