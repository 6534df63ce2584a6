"""What phrases name, as far as words tell: so that what is asked as absent is not there."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SIDES = _listed("left right leftmost rightmost lefthand righthand")
_SILENT = _listed(
    "a an the this that these those some any all both each one two three four his her its their "
    "my your very most s top bottom side front back part left right middle center group pair "
    "piece bunch lot kind"
)
"""Words that name nothing by themselves."""
_RELATIONS = _listed(
    "of in on at by near with without under over behind beside besides next to from above below "
    "between inside outside against along around through across toward towards for and or who "
    "which that is are has have having wearing holding carrying riding sitting standing lying "
    "hanging made covered"
)
"""Words after which a phrase speaks of something else than what it asks for."""
_PEOPLE = _listed(
    "people person man men woman women boy girl guy lady gentleman kid child children baby adult "
    "player skier surfer rider pedestrian human someone"
)
_IRREGULAR = {"feet": "foot", "teeth": "tooth", "leaves": "leaf", "shelves": "shelf"}


class Named(NamedTuple):
    """What a phrase speaks of."""

    words: frozenset[str]
    """All of its words that may name something, in the singular; everybody is a "person"."""
    head: str
    """The one that says what is asked for; empty if there is none."""


@lru_cache(maxsize=65536)
def read_phrase(phrase: str) -> Named:
    """What a phrase speaks of.

    >>> read_phrase("two walking men with red umbrellas").head
    'person'
    >>> sorted(read_phrase("glasses on the table").words)
    ['glass', 'table']
    """
    words = _WORD.findall(phrase.casefold())
    cut = next((at for at, word in enumerate(words) if at and word in _RELATIONS), len(words))
    told = [_singular(word) for word in words if word not in _SILENT | _RELATIONS]
    before = [_singular(word) for word in words[:cut] if word not in _SILENT | _RELATIONS]
    return Named(frozenset(told), (before or told or [""])[-1])


def may_mean_the_same(phrase: str, other: str) -> bool:
    """Whether either asks for something that the other speaks of; nothing is risked on no words.

    >>> may_mean_the_same("red car", "window of a car"), may_mean_the_same("red car", "red ball")
    (True, False)
    """
    one, two = read_phrase(phrase), read_phrase(other)
    return not one.head or not two.head or one.head in two.words or two.head in one.words


def tells_sides(phrase: str) -> bool:
    """Whether a phrase would ask for something else in a mirror."""
    return not _SIDES.isdisjoint(_WORD.findall(phrase.casefold()))


def _singular(word: str) -> str:
    if word in _PEOPLE or word.removesuffix("s") in _PEOPLE:
        return "person"
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word
