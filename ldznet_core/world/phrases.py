"""Phrases: what a mask can be asked for in a scene, with the regions that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .backgrounds import background_named
from .draw import Draw
from .layout import Layout, background_names, thing_names
from .objects import GROUP_PLURALS, pluralise, thing_named
from .view import View, look
from .wording import ABSENT, PRESENT, Maker, Phrase


def draw_phrases(
    layout: Layout,
    labels: NDArray[np.uint8],
    draw: Draw,
    count: int,
    *,
    absent: float = 0.2,
    synonym: float = 0.15,
) -> list[Phrase]:
    """Phrases for a scene, each on its own: some name what is there, some what is not.

    Args:
        layout: the scene.
        labels: its label map ``(S, S)``.
        draw: where the choices come from.
        count: how many phrases.
        absent: how likely a phrase names nothing in the scene.
        synonym: how likely a thing's noun is said in another word.
    """
    view = look(layout, labels)
    phrases = []
    for _ in range(count):
        makers = ABSENT if draw.chance(absent) or not view.visible else PRESENT
        phrases.append(_make(makers, view, draw, synonym))
    return phrases


def all_phrases(layout: Layout, labels: NDArray[np.uint8]) -> list[Phrase]:
    """Each visible thing's and stuff's plain phrase, once: what an evaluation asks for."""
    view = look(layout, labels)
    found: dict[str, tuple[int, ...]] = {}
    for index in sorted(view.visible):
        region = view.regions[index]
        noun = region.name if region.colour is None else f"{region.colour} {region.name}"
        found[noun] = view.seen(name=region.name, colour=region.colour)
    return [Phrase(text, regions) for text, regions in found.items()]


def mask_of(labels: NDArray[np.uint8], regions: Sequence[int]) -> NDArray[np.bool_]:
    """Where the label map ``(S, S)`` shows one of the regions; nowhere if there is none."""
    return np.isin(labels, np.asarray(regions, np.uint8))


@lru_cache(maxsize=4)
def vocabulary(world: str) -> tuple[str, ...]:
    """Every word that the world's captions and phrases use, sorted; `outside_nouns` not among them.

    Nouns from outside the world occur in absent phrases alone, where they stand for any word that
    the world does not know.
    """
    texts = ["a an the and two next to left right of above below on the left on the right ,"]
    for name in thing_names(world):
        row = thing_named(name)
        nouns = (name, *row.synonyms)
        texts += [*nouns, *map(pluralise, nouns), *row.colours]
        texts += [word for group in row.groups for word in (group, GROUP_PLURALS[group])]
    for name in background_names(world):
        background = background_named(name)
        texts += [background.place, *background.synonyms, *background.stuff]
    return tuple(sorted({word for text in texts for word in text.split()}))


def _make(makers: Sequence[tuple[float, Maker]], view: View, draw: Draw, synonym: float) -> Phrase:
    while True:
        phrase = draw.weighted(makers)(view, draw, synonym)
        if phrase is not None:
            return phrase
