"""The table of things: one row an object, its names, its colours and its worlds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of the world.

    Attributes:
        name: the noun that captions use; unique in the table.
        key: its Unicode short name, which is its key in the atlas.
        synonyms: other nouns for the same object.
        groups: the kinds it belongs to, each a key of `GROUP_PLURALS`.
        colours: the colours it is painted in, keys of `tiles.PAINTS`; empty if it has one look.
        is_flippable: whether its mirror image still makes sense.
        worlds: the worlds it lives in.
    """

    name: str
    key: str
    synonyms: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    is_flippable: bool = True
    worlds: tuple[str, ...] = ("full",)


_EVERYWHERE = ("small", "full")

GROUP_PLURALS = {
    "animal": "animals",
    "fruit": "fruit",
    "plant": "plants",
    "toy": "toys",
    "vehicle": "vehicles",
}

THINGS: tuple[Thing, ...] = (
    Thing("apple", "red-apple", (), ("fruit",), ("red", "green", "yellow"), worlds=_EVERYWHERE),
    Thing("banana", "banana", (), ("fruit",), worlds=_EVERYWHERE),
    Thing("pineapple", "pineapple", ("ananas",), ("fruit",), worlds=_EVERYWHERE),
    Thing("mushroom", "mushroom", ("toadstool",), worlds=_EVERYWHERE),
    Thing("cactus", "cactus", (), ("plant",), worlds=_EVERYWHERE),
    Thing(
        "balloon",
        "balloon",
        (),
        ("toy",),
        ("red", "yellow", "green", "blue", "purple"),
        worlds=_EVERYWHERE,
    ),
    Thing("soccer ball", "soccer-ball", ("football",), ("toy",), worlds=_EVERYWHERE),
    Thing(
        "car",
        "automobile",
        ("automobile",),
        ("vehicle",),
        ("red", "yellow", "green", "blue"),
        worlds=_EVERYWHERE,
    ),
    Thing("butterfly", "butterfly", (), ("animal",), worlds=_EVERYWHERE),
    Thing("turtle", "turtle", ("tortoise",), ("animal",), worlds=_EVERYWHERE),
    Thing("owl", "owl", (), ("animal",), worlds=_EVERYWHERE),
    Thing("hamburger", "hamburger", ("burger",), worlds=_EVERYWHERE),
    Thing("sunflower", "sunflower", (), ("plant",)),
    Thing("elephant", "elephant", (), ("animal",)),
    Thing("frog", "frog", (), ("animal",)),
    Thing("rabbit", "rabbit", ("bunny",), ("animal",)),
    Thing("rooster", "rooster", (), ("animal",)),
    Thing("sailboat", "sailboat", (), ("vehicle",)),
    Thing("strawberry", "strawberry", (), ("fruit",)),
    Thing("bell", "bell"),
    Thing("umbrella", "umbrella"),
    Thing("teapot", "teapot"),
    Thing("tulip", "tulip", (), ("plant",)),
    Thing("rocket", "rocket"),
)

_BY_NAME = {thing.name: thing for thing in THINGS}


def thing_named(name: str) -> Thing:
    """The row of the table with this name."""
    return _BY_NAME[name]


def pluralise(noun: str) -> str:
    """The regular English plural of a noun."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith("cactus"):
        return noun[:-2] + "i"
    return noun + ("es" if noun.endswith(("s", "x", "sh", "ch")) else "s")


def with_article(noun_phrase: str) -> str:
    """The noun phrase with the indefinite article in front."""
    return f"{'an' if noun_phrase[0] in 'aeiou' else 'a'} {noun_phrase}"
