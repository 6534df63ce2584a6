"""The ways in which a phrase names what a scene shows, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .backgrounds import background_named
from .draw import Draw
from .layout import background_names, masked_names
from .objects import GROUP_PLURALS, thing_named, with_article
from .outside import outside_nouns
from .view import View

_CLEARLY = 0.08


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase and the regions (values in the labels) that it names; none if it is absent."""

    text: str
    regions: tuple[int, ...]

    @property
    def is_absent(self) -> bool:
        """Whether nothing in the scene answers to it."""
        return not self.regions


Maker = Callable[[View, Draw, float], Phrase | None]
"""Makes a phrase from a view, chance and the rate of synonyms; None where the view offers none."""


def _present_noun(view: View, draw: Draw, synonym: float) -> Phrase | None:
    things = view.things()
    if not things:
        return None
    name = view.regions[draw.choice(things)].name
    return Phrase(_say(_noun(name, draw, synonym), draw), view.seen(name=name))


def _present_coloured(view: View, draw: Draw, synonym: float) -> Phrase | None:
    things = [index for index in view.things() if view.regions[index].colour]
    if not things:
        return None
    region = view.regions[draw.choice(things)]
    noun = f"{region.colour} {_noun(region.name, draw, synonym)}"
    return Phrase(_say(noun, draw), view.seen(name=region.name, colour=region.colour))


def _present_side(view: View, draw: Draw, synonym: float) -> Phrase | None:
    """The noun on a side: among twins the outer one, else one that clearly stands there."""
    things = view.things()
    if not things:
        return None
    name = view.regions[draw.choice(things)].name
    across = {index: view.centre_x(index) for index in view.seen(name=name)}
    leftmost, rightmost = min(across, key=across.__getitem__), max(across, key=across.__getitem__)
    side = draw.choice(("left", "right"))
    if len(across) > 1:
        is_clear = across[rightmost] - across[leftmost] > 2 * _CLEARLY
    else:
        side = "left" if across[leftmost] < 0.5 else "right"
        is_clear = abs(across[leftmost] - 0.5) > _CLEARLY
    if not is_clear:
        return None
    chosen = leftmost if side == "left" else rightmost
    return Phrase(f"the {_noun(name, draw, synonym)} on the {side}", (chosen,))


def _present_group(view: View, draw: Draw, synonym: float) -> Phrase | None:
    groups = sorted({group for index in view.things() for group in view.groups(index)})
    if not groups:
        return None
    group = draw.choice(groups)
    members = tuple(index for index in view.things() if group in view.groups(index))
    is_plural = len(members) > 1 or draw.chance(0.5)
    noun = GROUP_PLURALS[group] if is_plural else group
    return Phrase(_say(noun, draw, is_plural=is_plural), members)


def _present_stuff(view: View, draw: Draw, synonym: float) -> Phrase | None:
    stuff = view.seen(kind="stuff")
    if not stuff:
        return None
    index = draw.choice(stuff)
    return Phrase(_say_stuff(view.regions[index].name, draw), (index,))


def _absent_noun(view: View, draw: Draw, synonym: float) -> Phrase | None:
    there = {thing.name for thing in view.layout.things}
    name = draw.choice([name for name in masked_names(view.layout.world) if name not in there])
    colours = thing_named(name).colours
    noun = _noun(name, draw, synonym)
    if colours and draw.chance(0.3):
        noun = f"{draw.choice(colours)} {noun}"
    if draw.chance(0.1):
        return Phrase(f"the {noun} on the {draw.choice(('left', 'right'))}", ())
    return Phrase(_say(noun, draw), ())


def _absent_colour(view: View, draw: Draw, synonym: float) -> Phrase | None:
    """A thing that is there, in a colour in which it is not."""
    coloured = sorted({thing.name for thing in view.layout.things if thing.colour})
    if not coloured:
        return None
    name = draw.choice(coloured)
    there = {thing.colour for thing in view.layout.things if thing.name == name}
    others = [each for each in thing_named(name).colours if each not in there]
    if not others:
        return None
    colour = draw.choice(others)
    return Phrase(_say(f"{colour} {_noun(name, draw, synonym)}", draw), ())


def _absent_group(view: View, draw: Draw, synonym: float) -> Phrase | None:
    there = {group for thing in view.layout.things for group in thing_named(thing.name).groups}
    known = {
        group for name in masked_names(view.layout.world) for group in thing_named(name).groups
    }
    group = draw.choice(sorted(known - there))
    is_plural = draw.chance(0.5)
    noun = GROUP_PLURALS[group] if is_plural else group
    return Phrase(_say(noun, draw, is_plural=is_plural), ())


def _absent_stuff(view: View, draw: Draw, synonym: float) -> Phrase | None:
    here = background_named(view.layout.background)
    names = background_names(view.layout.world)
    known = {noun for name in names for noun in background_named(name).stuff}
    return Phrase(_say_stuff(draw.choice(sorted(known - {*here.stuff, *here.implied})), draw), ())


def _absent_outside(view: View, draw: Draw, synonym: float) -> Phrase | None:
    return Phrase(_say(draw.choice(outside_nouns(view.layout.world)), draw), ())


def _say(noun: str, draw: Draw, *, is_plural: bool = False) -> str:
    """The noun phrase with the article that chance gives it."""
    style = draw.below(3)
    if style == 0:
        return noun
    return f"the {noun}" if style == 1 or is_plural else with_article(noun)


def _noun(name: str, draw: Draw, synonym: float) -> str:
    """The thing's name, or a synonym."""
    others = thing_named(name).synonyms
    return draw.choice(others) if others and draw.chance(synonym) else name


def _say_stuff(noun: str, draw: Draw) -> str:
    return noun if draw.chance(0.5) else f"the {noun}"


PRESENT: tuple[tuple[float, Maker], ...] = (
    (0.42, _present_noun),
    (0.2, _present_coloured),
    (0.1, _present_side),
    (0.08, _present_group),
    (0.2, _present_stuff),
)
ABSENT: tuple[tuple[float, Maker], ...] = (
    (0.45, _absent_noun),
    (0.17, _absent_colour),
    (0.06, _absent_group),
    (0.14, _absent_stuff),
    (0.18, _absent_outside),
)
