"""Captions: what a scene shows, said in one of the ways that people would say it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .backgrounds import background_named, paint_background
from .draw import Draw
from .layout import Layout, Placed
from .objects import GROUP_PLURALS, pluralise, thing_named, with_article


@dataclass(frozen=True, slots=True)
class CaptionRates:
    """How often a caption departs from the plain sentence, each a probability.

    Attributes:
        empty: nothing is said (for classifier-free guidance).
        no_place: the background goes unmentioned.
        fewer: of two or more things, one goes unmentioned.
        synonym: a noun or a place is said in another word.
        no_colour: a colour goes unmentioned.
        no_relation: things are joined by "and" instead of a relation.
        group: a thing is called by its kind, such as "an animal".
        stuff: the place is told by what is behind the things: "in front of the sky and the grass".
            Were all of its stuff told, words that always come together would never be told apart.
    """

    empty: float = 0.1
    no_place: float = 0.15
    fewer: float = 0.1
    synonym: float = 0.2
    no_colour: float = 0.2
    no_relation: float = 0.4
    group: float = 0.05
    stuff: float = 0.25


USUAL = CaptionRates()
"""Phrases name kinds and stuff, too, and a text encoder learns words from captions alone."""

_SIDE_OF_STUFF = 32
"""Pixels of a background's side, enough to tell what is behind the middle of a thing."""

PLAIN = CaptionRates(0, 0, 0, 0, 0, 0, 0, 0)


def caption(
    layout: Layout,
    draw: Draw | None = None,
    *,
    plain: bool = False,
    rates: CaptionRates = USUAL,
) -> str:
    """A caption of the scene, such as "a red apple left of an owl on a beach".

    Args:
        layout: the scene.
        draw: where the choices come from; by default a stream named by the layout.
        plain: whether to give the full canonical sentence, in which nothing is left to chance.
        rates: how often it departs from that sentence.
    """
    if draw is None or plain:
        draw = Draw("caption", layout.world, layout.split, layout.index)
    chosen = PLAIN if plain else rates
    if draw.chance(chosen.empty):
        return ""
    things = list(layout.things) if plain else draw.shuffled(layout.things)
    if plain:
        things.sort(key=lambda thing: (thing.centre_x, thing.centre_y))
    if len(things) > 1 and draw.chance(chosen.fewer):
        things = things[1:]
    subject = _subject(things, draw, chosen, plain)
    if draw.chance(chosen.no_place):
        return subject
    if draw.chance(chosen.stuff):
        return f"{subject} in front of {_stuff_behind(things, layout)}"
    return f"{subject} {_place(layout.background, draw, chosen)}"


def true_relations(one: Placed, other: Placed) -> tuple[str, ...]:
    """What holds between two things; the clearest relation first."""
    across, down = other.centre_x - one.centre_x, other.centre_y - one.centre_y
    if abs(across) >= abs(down):
        return ("left of" if across > 0 else "right of", "next to")
    return ("above" if down > 0 else "below",)


def _place(name: str, draw: Draw, rates: CaptionRates) -> str:
    background = background_named(name)
    if draw.chance(rates.synonym):
        return draw.choice(background.synonyms or (background.place,))
    return background.place


def _stuff_behind(things: list[Placed], layout: Layout) -> str:
    _, labels = paint_background(layout.background, layout.background_seed, _SIDE_OF_STUFF)
    side = len(labels)
    stuff = background_named(layout.background).stuff
    middles = [(int(each.centre_y * side), int(each.centre_x * side)) for each in things]
    return _listed(dict.fromkeys(f"the {stuff[labels[middle]]}" for middle in middles))


def _subject(things: list[Placed], draw: Draw, rates: CaptionRates, plain: bool) -> str:
    names = [_noun_phrase(thing, draw, rates) for thing in things]
    if len(things) == 1:
        return with_article(names[0])
    if len(things) == 2 and not draw.chance(rates.no_relation):
        relations = true_relations(things[0], things[1])
        relation = relations[0] if plain else draw.choice(relations)
        return f"{with_article(names[0])} {relation} {with_article(names[1])}"
    if len(things) == 2 and names[0] == names[1]:
        return f"two {_plural(names[0])}"
    return _listed(with_article(name) for name in names)


def _listed(nouns: Iterable[str]) -> str:
    *others, last = nouns
    return f"{', '.join(others)} and {last}" if others else last


def _noun_phrase(thing: Placed, draw: Draw, rates: CaptionRates) -> str:
    row = thing_named(thing.name)
    noun = draw.choice(row.synonyms or (row.name,)) if draw.chance(rates.synonym) else row.name
    if rates.group and row.groups and draw.chance(rates.group):
        noun = draw.choice(row.groups)
    if thing.colour is None or draw.chance(rates.no_colour):
        return noun
    return f"{thing.colour} {noun}"


def _plural(noun_phrase: str) -> str:
    *before, noun = noun_phrase.split()
    return " ".join([*before, GROUP_PLURALS.get(noun) or pluralise(noun)])
