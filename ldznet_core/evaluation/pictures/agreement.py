"""Masks of pictures that the miniature painted, held against those of an independent judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...capture import Aim
from ...metrics.overlap import Overlap, mean_iou, overlap, rate
from ...miniature import Generation, Miniature
from ...segmentation import Segmentation
from ...segmenter import Segmenter
from ...world import Layout
from ...world.backgrounds import background_named
from ..masks import is_small
from ..painted import EVERY_WINDOW, every_tap, other_aims
from .prompts import paint_prompts
from .rgb_judge import RGBJudge

Way: TypeAlias = Callable[[Generation, Sequence[str]], Segmentation]
"""Masks of a picture that was painted, for phrases."""


@dataclass
class Told:
    """What a way told of things, or of stuff."""

    overlaps: list[Overlap] = field(default_factory=list)
    """Of its masks and the judge's, where the judge sees it."""
    found: list[bool] = field(default_factory=list)
    """Whether it finds what the judge sees."""
    denied: list[bool] = field(default_factory=list)
    """Whether it denies what the judge does not see, though the prompt asked for it."""

    def add(self, mask: NDArray[np.bool_], truth: NDArray[np.bool_], *, is_found: bool) -> None:
        """Compare a mask with the judge's."""
        if _is_painted(truth):
            self.overlaps.append(overlap(mask, truth))
            self.found.append(is_found)
        else:
            self.denied.append(not is_found)

    def summary(self, kind: str) -> dict[str, float]:
        """The figures by name; shares and IoUs in [0, 1], NaN of nothing."""
        return {
            f"{kind}_miou": mean_iou(self.overlaps),
            f"{kind}_found": rate(self.found),
            f"{kind}_denied": rate(self.denied),
        }


@dataclass
class Agreement:
    """How the masks of a way agree with the judge's on all that the prompts name."""

    things: Told = field(default_factory=Told)
    stuff: Told = field(default_factory=Told)

    def summary(self) -> dict[str, float]:
        """The figures by name; shares and IoUs in [0, 1]."""
        return _numbers({**self.things.summary("things"), **self.stuff.summary("stuff")})


@dataclass
class Painted:
    """What the judge sees in the pictures of all that the prompts name."""

    things: list[bool] = field(default_factory=list)
    """Whether it sees each thing."""
    stuff: list[bool] = field(default_factory=list)
    whole: dict[int, list[bool]] = field(default_factory=lambda: {1: [], 2: []})
    """Of prompts with one thing and with two: whether it sees all of them."""
    coloured: list[bool] = field(default_factory=list)
    """Of things with a colour that it sees: whether they are mostly of that colour."""

    def summary(self) -> dict[str, float]:
        """The figures by name; shares in [0, 1]."""
        return _numbers(
            {
                "things_painted": sum(self.things),
                "things_not_painted": len(self.things) - sum(self.things),
                "stuff_painted": sum(self.stuff),
                "stuff_not_painted": len(self.stuff) - sum(self.stuff),
                "one_thing_painted": rate(self.whole[1]),
                "two_things_painted": rate(self.whole[2]),
                "colour_right": rate(self.coloured),
                "pictures_of_one": len(self.whole[1]),
                "pictures_of_two": len(self.whole[2]),
                "things_with_colour": len(self.coloured),
            }
        )


def ways_of(heads: Mapping[str, Segmenter]) -> dict[str, Way]:
    """How the masks of a picture can be had from each head, by the names of the ways.

    As users get them; of heads that read latents, by those that the sampler left; by a probe of the
    picture; and by what was captured at other timesteps.
    """
    ways: dict[str, Way] = {}
    for name, segmenter in heads.items():
        ways[name] = partial(_segment, segmenter)
        if segmenter.reads_latents:
            ways[f"{name}, by the sampler's latents"] = partial(
                _segment, segmenter, sees_picture=False
            )
        ways[f"{name}, by a probe of the picture"] = partial(_probe, segmenter)
        for there, aim in other_aims(segmenter.aim).items():
            ways[f"{name}, {there}"] = partial(_segment, segmenter, aim=aim)
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
) -> tuple[Painted, dict[str, Agreement]]:
    """Paint captions of "iid" with their numbers as seeds, and compare masks of all they name.

    The masks are read at their head's own threshold; what it does not find has an empty mask.

    Args:
        miniature: What paints.
        ways: To the masks that are held against the judge's, of `ways_of`.
        judge: Of the same world.
        world: The world's name.
        count: Pictures.
        steps: UNet passes of a picture.
        guidance: How strictly prompts are followed.

    Returns:
        What the judge sees of what was asked for, and how each way agrees with it.
    """
    painted, agreements = Painted(), {name: Agreement() for name in ways}
    pictures = paint_prompts(
        miniature,
        every_tap,
        world,
        count,
        steps=steps,
        guidance=guidance,
        name="agreement",
        window=EVERY_WINDOW,
    )
    for layout, _, made in pictures:
        things, stuff = _things_of(layout), background_named(layout.background).stuff
        seen = judge.look(made.image)
        truths = [judge.mask(seen, name, colour) for name, colour in things]
        grounds = [judge.mask(seen, name, None) for name in stuff]
        of_any_colour = [judge.mask(seen, name, None) for name, _ in things]
        _count(painted, things, truths, of_any_colour, grounds)
        texts = [name if colour is None else f"{colour} {name}" for name, colour in things]
        for name, way in ways.items():
            _compare(agreements[name], way(made, [*texts, *stuff]), truths, grounds)
    return painted, agreements


def _segment(
    segmenter: Segmenter,
    made: Generation,
    phrases: Sequence[str],
    *,
    sees_picture: bool = True,
    aim: Aim | None = None,
) -> Segmentation:
    """By what was captured where the head wants to see it, or elsewhere."""
    features = (aim or segmenter.aim).nearest(made.captured)
    picture = made.image if sees_picture else None
    return segmenter.segment_sampled(
        made.latents, features, phrases, threshold=None, picture=picture
    )


def _probe(segmenter: Segmenter, made: Generation, phrases: Sequence[str]) -> Segmentation:
    return segmenter.segment_image(made.image, phrases, threshold=None)


def _count(
    painted: Painted,
    things: Sequence[tuple[str, str | None]],
    truths: Sequence[NDArray[np.bool_]],
    of_any_colour: Sequence[NDArray[np.bool_]],
    grounds: Sequence[NDArray[np.bool_]],
) -> None:
    """Add a picture: its things by name and colour, and the judge's masks."""
    are_painted = [_is_painted(truth) for truth in truths]
    painted.things += are_painted
    painted.stuff += map(_is_painted, grounds)
    if len(things) in painted.whole:
        painted.whole[len(things)].append(all(are_painted))
    for (_, colour), truth, shape in zip(things, truths, of_any_colour, strict=True):
        if colour is not None and _is_painted(shape):
            painted.coloured.append(bool(truth.sum() > shape.sum() / 2))


def _compare(
    agreement: Agreement,
    given: Segmentation,
    truths: Sequence[NDArray[np.bool_]],
    grounds: Sequence[NDArray[np.bool_]],
) -> None:
    """Add what a way says of a picture's things and then of its stuff."""
    into = [agreement.things] * len(truths) + [agreement.stuff] * len(grounds)
    answers = zip((given.masks > 0.5).numpy(), given.found, strict=True)
    for told, truth, (mask, is_found) in zip(into, [*truths, *grounds], answers, strict=True):
        told.add(mask, truth, is_found=is_found)


def _is_painted(truth: NDArray[np.bool_]) -> bool:
    """Whether the judge's mask is of something, and no speck."""
    return not is_small(truth)


def _numbers(figures: Mapping[str, float]) -> dict[str, float]:
    """Without those that are means of nothing."""
    return {name: value for name, value in figures.items() if not np.isnan(value)}


def _things_of(layout: Layout) -> list[tuple[str, str | None]]:
    """What the prompt names, each once."""
    return list(dict.fromkeys((thing.name, thing.colour) for thing in layout.things))
