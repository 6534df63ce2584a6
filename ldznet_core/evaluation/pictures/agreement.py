"""Masks of pictures that the miniature painted, held against those of an independent judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...metrics.overlap import Overlap, mean_iou, overlap, rate
from ...miniature import Generation, Miniature
from ...segmentation import Segmentation
from ...segmenter import Segmenter
from ...world import Layout
from ...world.backgrounds import background_named
from ..masks import LEAST_SIDE
from ..painted import every_tap
from .prompts import paint_prompts
from .rgb_judge import RGBJudge

Way: TypeAlias = Callable[[Generation, Sequence[str]], Segmentation]
"""Masks of a picture that was painted, for phrases."""


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


def ways_of(heads: Mapping[str, Segmenter]) -> dict[str, Way]:
    """How the masks of a picture can be had from each head, by the names of the ways.

    As users get them; and, of heads that read latents, by those that the sampler left.
    """
    ways: dict[str, Way] = {}
    for name, segmenter in heads.items():
        ways[name] = partial(_segment, segmenter, sees_picture=True)
        if segmenter.reads_latents:
            ways[f"{name}, by the sampler's latents"] = partial(
                _segment, segmenter, sees_picture=False
            )
    return ways


def agree(
    miniature: Miniature,
    ways: Mapping[str, Way],
    judge: RGBJudge,
    world: str,
    count: int,
    *,
    steps: int,
    guidance: float,
) -> dict[str, Agreement]:
    """Paint captions of "iid" with their numbers as seeds, and compare masks of all they name.

    The masks are read from what was captured while sampling, at their head's own threshold; what
    it does not find has an empty mask.

    Args:
        miniature: What paints.
        ways: To the masks that are held against the judge's, of `ways_of`.
        judge: Of the same world.
        world: The world's name.
        count: Pictures.
        steps: UNet passes of a picture.
        guidance: How strictly prompts are followed.
    """
    agreements = {name: Agreement() for name in ways}
    painted = paint_prompts(
        miniature, every_tap, world, count, steps=steps, guidance=guidance, name="agreement"
    )
    for layout, _, made in painted:
        things, stuff = _things_of(layout), background_named(layout.background).stuff
        texts = [name if colour is None else f"{colour} {name}" for name, colour in things]
        seen = judge.look(made.image)
        for name, way in ways.items():
            given = way(made, [*texts, *stuff])
            _compare(agreements[name], given, judge, seen, things, stuff)
    return agreements


def _segment(
    segmenter: Segmenter, made: Generation, phrases: Sequence[str], *, sees_picture: bool
) -> Segmentation:
    picture = made.image if sees_picture else None
    return segmenter.segment_sampled(
        made.latents, made.features, phrases, threshold=None, picture=picture
    )


def _compare(
    agreement: Agreement,
    given: Segmentation,
    judge: RGBJudge,
    seen: NDArray[np.intp],
    things: Sequence[tuple[str, str | None]],
    stuff: Sequence[str],
) -> None:
    """Count a picture whose things and then stuff were asked for."""
    answers = zip((given.masks > 0.5).numpy(), given.found, strict=True)
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


def _things_of(layout: Layout) -> list[tuple[str, str | None]]:
    """What the prompt names, each once."""
    return list(dict.fromkeys((thing.name, thing.colour) for thing in layout.things))
