"""Masks of pictures that the miniature painted, held against those of an independent judge."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...miniature import Miniature
from ...segmentation import Segmentation
from ...segmenter import Segmenter
from ...world import Layout
from ..masks import LEAST_SIDE
from ..metrics.overlap import Overlap, mean_iou, overlap, rate
from .prompts import paint_prompts
from .rgb_judge import RGBJudge


@dataclass
class Agreement:
    """What head and judge said of the things that the prompts name."""

    overlaps: list[Overlap] = field(default_factory=list)
    """Of their masks, where the judge sees the thing."""
    found: list[bool] = field(default_factory=list)
    """Whether the head finds what the judge sees."""
    denied: list[bool] = field(default_factory=list)
    """Whether the head denies what the judge does not see, though the prompt asked for it."""
    painted: dict[int, list[bool]] = field(default_factory=lambda: {1: [], 2: []})
    """Of prompts with one thing and with two: whether the judge sees all of them."""
    coloured: list[bool] = field(default_factory=list)
    """Of things with a colour that the judge sees: whether they are mostly of that colour."""

    def summary(self) -> dict[str, float]:
        """The figures by name; shares and IoUs in [0, 1]."""
        figures = {
            "things_miou": mean_iou(self.overlaps),
            "found": rate(self.found),
            "denied": rate(self.denied),
            "one_thing_painted": rate(self.painted[1]),
            "two_things_painted": rate(self.painted[2]),
            "colour_right": rate(self.coloured),
        }
        counts = {
            "things": len(self.found),
            "things_not_painted": len(self.denied),
            "pictures_of_one": len(self.painted[1]),
            "pictures_of_two": len(self.painted[2]),
            "things_with_colour": len(self.coloured),
        }
        return {name: value for name, value in figures.items() if not np.isnan(value)} | counts


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
    """Paint captions of "iid" with their numbers as seeds, and compare every named thing's masks.

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
        things = _things_of(layout)
        texts = [name if colour is None else f"{colour} {name}" for name, colour in things]
        given = segmenter.segment_sampled(made.latents, made.features, texts, threshold=None)
        _compare(agreement, judge, judge.look(made.image), things, given)
    return agreement


def _things_of(layout: Layout) -> list[tuple[str, str | None]]:
    """What the prompt names, each once."""
    return list(dict.fromkeys((thing.name, thing.colour) for thing in layout.things))


def _compare(
    agreement: Agreement,
    judge: RGBJudge,
    seen: np.ndarray,
    things: list[tuple[str, str | None]],
    given: Segmentation,
) -> None:
    are_painted = []
    for index, (name, colour) in enumerate(things):
        truth, of_any_colour = (judge.mask(seen, name, which) for which in (colour, None))
        is_painted = int(truth.sum()) >= LEAST_SIDE**2
        are_painted.append(is_painted)
        if colour is not None and of_any_colour.sum() >= LEAST_SIDE**2:
            agreement.coloured.append(truth.sum() > of_any_colour.sum() / 2)
        if is_painted:
            mask = given.masks[index].numpy() > 0.5
            agreement.overlaps.append(overlap(mask, truth))
            agreement.found.append(given.found[index])
        else:
            agreement.denied.append(not given.found[index])
    if len(things) in agreement.painted:
        agreement.painted[len(things)].append(all(are_painted))
