"""The table of things: one row an object, its names, its colours and its worlds.

New rows are appended: rows keep their places in the atlas, and scenes their contents.
"""

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
        is_caption_only: whether no head may ever see a mask of it: the LDM alone knows its name.
        worlds: the worlds it lives in.
    """

    name: str
    key: str
    synonyms: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    is_flippable: bool = True
    is_caption_only: bool = False
    worlds: tuple[str, ...] = ("full",)


_EVERYWHERE = ("small", "full")
_ANY = ("red", "yellow", "green", "blue", "purple", "pink")

GROUP_PLURALS = {
    "animal": "animals",
    "building": "buildings",
    "fruit": "fruit",
    "instrument": "instruments",
    "plant": "plants",
    "tool": "tools",
    "toy": "toys",
    "vegetable": "vegetables",
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
    Thing("elephant", "elephant", (), ("animal",), is_caption_only=True),
    Thing("frog", "frog", (), ("animal",)),
    Thing("rabbit", "rabbit", ("bunny",), ("animal",)),
    Thing("rooster", "rooster", (), ("animal",), is_caption_only=True),
    Thing("sailboat", "sailboat", (), ("vehicle",), is_caption_only=True),
    Thing("strawberry", "strawberry", (), ("fruit",)),
    Thing("bell", "bell", is_caption_only=True),
    Thing("umbrella", "umbrella"),
    Thing("teapot", "teapot", (), (), _ANY),
    Thing("tulip", "tulip", (), ("plant",), _ANY, is_caption_only=True),
    Thing("rocket", "rocket", (), ("vehicle",)),
    Thing("cat", "cat", ("kitten",), ("animal",)),
    Thing("cow", "cow", (), ("animal",)),
    Thing("crab", "crab", (), ("animal",), _ANY),
    Thing("crocodile", "crocodile", (), ("animal",), is_caption_only=True),
    Thing("dinosaur", "sauropod", (), ("animal",)),
    Thing("dog", "dog", ("puppy",), ("animal",)),
    Thing("dolphin", "dolphin", (), ("animal",), is_caption_only=True),
    Thing("fish", "fish", (), ("animal",), _ANY),
    Thing("flamingo", "flamingo", (), ("animal",)),
    Thing("fox", "fox", (), ("animal",), is_caption_only=True),
    Thing("giraffe", "giraffe", (), ("animal",)),
    Thing("hedgehog", "hedgehog", (), ("animal",)),
    Thing("horse", "horse", (), ("animal",), is_caption_only=True),
    Thing("koala", "koala", (), ("animal",)),
    Thing("ladybug", "lady-beetle", ("ladybird",), ("animal",)),
    Thing("lion", "lion", (), ("animal",)),
    Thing("octopus", "octopus", (), ("animal",), _ANY, is_caption_only=True),
    Thing("panda", "panda", (), ("animal",), is_caption_only=True),
    Thing("parrot", "parrot", (), ("animal",)),
    Thing("penguin", "penguin", (), ("animal",)),
    Thing("pig", "pig", (), ("animal",)),
    Thing("snail", "snail", (), ("animal",), is_caption_only=True),
    Thing("swan", "swan", (), ("animal",)),
    Thing("tiger", "tiger", (), ("animal",), is_caption_only=True),
    Thing("avocado", "avocado", (), ("fruit",)),
    Thing("kiwi", "kiwi-fruit", (), ("fruit",)),
    Thing("lemon", "lemon", (), ("fruit",)),
    Thing("orange", "tangerine", (), ("fruit",), is_caption_only=True),
    Thing("peach", "peach", (), ("fruit",)),
    Thing("pear", "pear", (), ("fruit",), is_caption_only=True),
    Thing("watermelon", "watermelon", (), ("fruit",), is_caption_only=True),
    Thing("bell pepper", "bell-pepper", (), ("vegetable",), _ANY),
    Thing("broccoli", "broccoli", (), ("vegetable",)),
    Thing("carrot", "carrot", (), ("vegetable",)),
    Thing("eggplant", "eggplant", ("aubergine",), ("vegetable",), is_caption_only=True),
    Thing("cake", "birthday-cake", ("birthday cake",)),
    Thing("croissant", "croissant", is_caption_only=True),
    Thing("cupcake", "cupcake", is_caption_only=True),
    Thing("doughnut", "doughnut", ("donut",)),
    Thing("hot dog", "hot-dog", is_caption_only=True),
    Thing("ice cream", "ice-cream"),
    Thing("pizza", "pizza", ("slice of pizza",), is_caption_only=True),
    Thing("pretzel", "pretzel"),
    Thing("palm tree", "palm-tree", (), ("plant",), is_caption_only=True),
    Thing("potted plant", "potted-plant", ("houseplant",), ("plant",)),
    Thing("rose", "rose", (), ("plant",), _ANY),
    Thing("basketball", "basketball", (), ("toy",)),
    Thing("kite", "kite", (), ("toy",), is_caption_only=True),
    Thing("robot", "robot", (), ("toy",), is_caption_only=True),
    Thing("skateboard", "skateboard", (), ("toy",)),
    Thing("teddy bear", "teddy-bear", (), ("toy",)),
    Thing("airplane", "airplane", ("plane",), ("vehicle",)),
    Thing("bicycle", "bicycle", ("bike",), ("vehicle",)),
    Thing("bus", "bus", (), ("vehicle",), is_caption_only=True),
    Thing("fire truck", "fire-engine", ("fire engine",), ("vehicle",)),
    Thing("helicopter", "helicopter", (), ("vehicle",), is_caption_only=True),
    Thing("pickup", "pickup-truck", ("pickup truck",), ("vehicle",), _ANY),
    Thing("scooter", "motor-scooter", (), ("vehicle",), _ANY, is_caption_only=True),
    Thing("taxi", "taxi", ("cab",), ("vehicle",)),
    Thing("tractor", "tractor", (), ("vehicle",), is_caption_only=True),
    Thing("train", "locomotive", ("locomotive",), ("vehicle",)),
    Thing("drum", "drum", (), ("instrument",), is_caption_only=True),
    Thing("guitar", "guitar", (), ("instrument",)),
    Thing("saxophone", "saxophone", (), ("instrument",), is_caption_only=True),
    Thing("trumpet", "trumpet", (), ("instrument",)),
    Thing("hammer", "hammer", (), ("tool",)),
    Thing("saw", "carpentry-saw", (), ("tool",), is_caption_only=True),
    Thing("screwdriver", "screwdriver", (), ("tool",)),
    Thing("wrench", "wrench", ("spanner",), ("tool",), is_caption_only=True),
    Thing("castle", "castle", (), ("building",), is_caption_only=True),
    Thing("church", "church", (), ("building",)),
    Thing("house", "house", ("home",), ("building",)),
    Thing("cap", "billed-cap", ("baseball cap",), (), _ANY, is_caption_only=True),
    Thing("dress", "dress", (), (), _ANY, is_caption_only=True),
    Thing("scarf", "scarf", (), (), _ANY),
    Thing("sneaker", "running-shoe", ("running shoe",), (), _ANY),
    Thing("t-shirt", "t-shirt", ("tee",), (), _ANY),
    Thing("top hat", "top-hat"),
    Thing("backpack", "backpack", ("rucksack",), (), _ANY),
    Thing("book", "blue-book", (), (), _ANY),
    Thing("bucket", "bucket", ("pail",), (), _ANY, is_caption_only=True),
    Thing("camera", "camera"),
    Thing("candle", "candle", is_caption_only=True),
    Thing("chair", "chair"),
    Thing("crown", "crown"),
    Thing("diamond", "gem-stone", ("gem",)),
    Thing("gift", "wrapped-gift", ("present",)),
    Thing("key", "key", is_caption_only=True),
    Thing("ladder", "ladder"),
    Thing("lantern", "red-paper-lantern", ("paper lantern",), (), _ANY),
    Thing("laptop", "laptop", is_caption_only=True),
    Thing("light bulb", "light-bulb"),
    Thing("purse", "purse", ("handbag",), (), _ANY),
    Thing("telephone", "telephone", ("phone",), (), _ANY, is_caption_only=True),
    Thing("tent", "tent", (), (), _ANY),
    Thing("television", "television"),
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
