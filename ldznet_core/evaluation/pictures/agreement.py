"""Masks of pictures that the miniature painted, held against those of an independent judge."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...metrics.overlap import Overlap, mean_iou, overlap, rate
from ...miniature import Miniature
from ...segmenter import Segmenter
from ...world import Layout
from ...world.backgrounds import background_named
from ..masks import LEAST_SIDE
from .prompts import paint_prompts
from .rgb_judge import RGBJudge


@dataclass
class Told:
    """What head and judge said of things, or of stuff."""

    overlaps: list[Overlap] = field(default_factory=list)
    """Of their masks, where the judge sees it."""
    found: list[bool] = field(default_factory=list)
    """Whether the head finds what the judge sees."""
    denied: list[bool] = field(default_factory=list)
    """Whether the head denies what the judge does not see, though the prompt asked for it."""

    def add(self, mask: NDArray[np.bool_], truth: NDArray[np.bool_], *, is_found: bool) -> bool:
        """Compare a head's mask with the judge's, and say whether the judge sees anything."""
        is_painted = int(truth.sum()) >= LEAST_SIDE**2
        if is_painted:
            self.overlaps.append(overlap(mask, truth))
            self.found.append(is_found)
        else:
            self.denied.append(not is_found)
        return is_painted

    def summary(self, kind: str) -> dict[str, float]:
        """The figures by name; shares and IoUs in [0, 1], NaN of nothing."""
        return {
            f"{kind}_miou": mean_iou(self.overlaps),
            f"{kind}_found": rate(self.found),
            f"{kind}_denied": rate(self.denied),
            f"{kind}_painted": len(self.found),
            f"{kind}_not_painted": len(self.denied),
        }


@dataclass
class Agreement:
    """What head and judge said of all that the prompts name."""

    things: Told = field(default_factory=Told)
    stuff: Told = field(default_factory=Told)
    painted: dict[int, list[bool]] = field(default_factory=lambda: {1: [], 2: []})
    """Of prompts with one thing and with two: whether the judge sees all of them."""
    coloured: list[bool] = field(default_factory=list)
    """Of things with a colour that the judge sees: whether they are mostly of that colour."""

    def summary(self) -> dict[str, float]:
        """The figures by name; shares and IoUs in [0, 1]."""
        figures = {
            **self.things.summary("things"),
            **self.stuff.summary("stuff"),
            "one_thing_painted": rate(self.painted[1]),
            "two_things_painted": rate(self.painted[2]),
            "colour_right": rate(self.coloured),
            "pictures_of_one": len(self.painted[1]),
            "pictures_of_two": len(self.painted[2]),
            "things_with_colour": len(self.coloured),
        }
        return {name: value for name, value in figures.items() if not np.isnan(value)}


def agree(
    miniature: Miniature,
    segmenter: Segmenter,
    judge: RGBJudge,
    world: str,
    count: int,
    *,
    steps: int,
    guidance: float,
) -> Agreement:
    """Paint captions of "iid" with their numbers as seeds, and compare masks of all they name.

    The head's are read from what was captured while sampling, at its own threshold; what it does
    not find has an empty mask.

    Args:
        miniature: What paints.
        segmenter: Whose masks are held against the judge's.
        judge: Of the same world.
        world: The world's name.
        count: Pictures.
        steps: UNet passes of a picture.
        guidance: How strictly prompts are followed.
    """
    agreement = Agreement()
    painted = paint_prompts(
        miniature, segmenter, world, count, steps=steps, guidance=guidance, name="agreement"
    )
    for layout, _, made in painted:
        things, stuff = _things_of(layout), background_named(layout.background).stuff
        texts = [name if colour is None else f"{colour} {name}" for name, colour in things]
        given = segmenter.segment_sampled(
            made.latents, made.features, [*texts, *stuff], threshold=None, picture=made.image
        )
        answers = zip((given.masks > 0.5).numpy(), given.found, strict=True)
        seen = judge.look(made.image)
        are_painted = []
        for (name, colour), (mask, is_found) in zip(things, answers, strict=False):
            truth, of_any_colour = (judge.mask(seen, name, which) for which in (colour, None))
            are_painted.append(agreement.things.add(mask, truth, is_found=is_found))
            if colour is not None and of_any_colour.sum() >= LEAST_SIDE**2:
                agreement.coloured.append(truth.sum() > of_any_colour.sum() / 2)
        for name, (mask, is_found) in zip(stuff, answers, strict=True):
            agreement.stuff.add(mask, judge.mask(seen, name, None), is_found=is_found)
        if len(things) in agreement.painted:
            agreement.painted[len(things)].append(all(are_painted))
    return agreement


def _things_of(layout: Layout) -> list[tuple[str, str | None]]:
    """What the prompt names, each once."""
    return list(dict.fromkeys((thing.name, thing.colour) for thing in layout.things))
