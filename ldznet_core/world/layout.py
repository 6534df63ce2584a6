"""Layouts: what stands where in a scene, as a pure function of (world, split, index)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from ..errors import InputError
from .backgrounds import BACKGROUNDS
from .draw import Draw, stable_hash
from .objects import THINGS, thing_named

SPLITS = ("train", "validation", "iid", "comb", "style", "caption-only")
Pair = tuple[str, str]
_HELD_OUT_SHARE = 0.15
_HELD_OUT_DRAW = "held out\x1f18"  # with it every thing, colour and place stays in training
_CAPTION_ONLY_SHARE = 2 / 3  # of the things in the scenes that may show such: a third of all things


@dataclass(frozen=True, slots=True)
class World:
    """What a world is made of.

    Attributes:
        name: its name in the tables' `worlds`.
        side: the pixels of its pictures' side, as they are trained on.
        counts: (weight, number of things in a scene).
        scales: the range of a thing's longest side, as a share of the picture's, by that number.
        twins: how likely two things are of one kind.
    """

    name: str
    side: int
    counts: tuple[tuple[float, int], ...]
    scales: tuple[tuple[int, float, float], ...]
    twins: float


WORLDS = {
    "small": World("small", 128, ((0.6, 1), (0.4, 2)), ((1, 0.5, 0.8), (2, 0.34, 0.5)), 0.12),
    "full": World(
        "full",
        256,
        ((0.4, 1), (0.3, 2), (0.2, 3), (0.1, 4)),
        ((1, 0.45, 0.8), (2, 0.32, 0.5), (3, 0.27, 0.42), (4, 0.26, 0.4)),
        0.12,
    ),
}


@dataclass(frozen=True, slots=True)
class Placed:
    """One thing in a scene; lengths are shares of the picture's side, angles in degrees."""

    name: str
    colour: str | None
    centre_y: float
    centre_x: float
    scale: float
    angle: float
    is_flipped: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """A scene before it is drawn.

    Attributes:
        world: the world's name.
        split: the split that it belongs to.
        index: its number in the split.
        style: the emoji set that its things are drawn in.
        background: the background's name.
        background_seed: what the background's shapes and texture are drawn from.
        things: what stands in it; a later thing lies over an earlier one.
        light: the factor on its brightness.
        blur: its blur's radius, as a share of the side.
        shadow: how dark shadows are, in [0, 1].
    """

    world: str
    split: str
    index: int
    style: str
    background: str
    background_seed: int
    things: tuple[Placed, ...]
    light: float
    blur: float
    shadow: float

    @property
    def pairs(self) -> frozenset[Pair]:
        """The combinations that the scene shows, in the order that `held_out_pairs` uses."""
        return _pairs_of(self.background, [(thing.name, thing.colour) for thing in self.things])


def draw_layout(world: str, split: str, index: int) -> Layout:
    """The layout with this number; the same on every machine, now and later.

    Splits: "train", "validation" and "iid" show no held-out pair; every scene of "comb" shows at
    least one; "style" is "iid" in the other emoji sets; "caption-only" shows nothing but things
    whose masks no head has seen, of which the other splits are free but for every second scene of
    "train" (see `scenes_with_masks`).

    Raises:
        InputError: if the world or the split is not known, or the index is negative, or the world
            has no caption-only things.
    """
    if world not in WORLDS or split not in SPLITS or index < 0:
        raise InputError(
            f"expected a world of {tuple(WORLDS)}, a split of {SPLITS} and an index from 0; "
            f"got {world!r}, {split!r}, {index}: choose one of those"
        )
    pool = _pool(world, split, index)
    draw = Draw("layout", world, "iid" if split == "style" else split, index)
    recipe = WORLDS[world]
    background, kinds = _draw_contents(recipe, draw, pool, split == "comb")
    things = _place(recipe, draw, kinds)
    background_seed = draw.below(2**31)
    light, shadow = draw.uniform(0.92, 1.06), draw.uniform(0.15, 0.4)
    blur = draw.uniform(0, 0.0045) if draw.chance(0.5) else 0.0
    style = "noto" if split != "style" else draw.choice(("fluent", "twemoji"))
    return Layout(
        world, split, index, style, background, background_seed, things, light, blur, shadow
    )


@lru_cache(maxsize=4)
def held_out_pairs(world: str) -> frozenset[Pair]:
    """About 15 % of the (thing, background), (colour, thing) and (thing, thing) pairs.

    A pair is held out by its own hash, so rows that come later leave the earlier pairs as they are.
    """
    names = thing_names(world)
    pairs = [(name, background) for name in names for background in background_names(world)]
    pairs += [(colour, name) for name in names for colour in thing_named(name).colours]
    pairs += [_sorted_pair(one, other) for one, other in combinations(names, 2)]
    return frozenset(pair for pair in pairs if _is_held_out(pair))


def scenes_with_masks(world: str, split: str, count: int) -> range:
    """Which of a split's first scenes heads may learn from: those without a caption-only thing."""
    return range(0, count, 2) if split == "train" and caption_only_names(world) else range(count)


@lru_cache(maxsize=4)
def thing_names(world: str) -> tuple[str, ...]:
    """The names of the things that live in the world."""
    return tuple(thing.name for thing in THINGS if world in thing.worlds)


@lru_cache(maxsize=4)
def caption_only_names(world: str) -> tuple[str, ...]:
    """Those of them whose masks no head may see."""
    return tuple(name for name in thing_names(world) if thing_named(name).is_caption_only)


@lru_cache(maxsize=4)
def masked_names(world: str) -> tuple[str, ...]:
    """The others, which phrases of training ask for."""
    return tuple(name for name in thing_names(world) if not thing_named(name).is_caption_only)


def background_names(world: str) -> tuple[str, ...]:
    """The names of the backgrounds that the world has."""
    return tuple(each.name for each in BACKGROUNDS if world in each.worlds)


Kind = tuple[str, str | None]


def _pool(world: str, split: str, index: int) -> tuple[tuple[float, tuple[str, ...]], ...]:
    """(weight, names) that a scene's things are drawn from."""
    masked, unmasked = masked_names(world), caption_only_names(world)
    if split == "caption-only":
        if not unmasked:
            raise InputError(
                f"expected a world with caption-only things, got {world!r}: choose another split"
            )
        return ((1.0, unmasked),)
    if index in scenes_with_masks(world, split, index + 1):
        return ((1.0, masked),)
    return ((_CAPTION_ONLY_SHARE, unmasked), (1 - _CAPTION_ONLY_SHARE, masked))


def _draw_contents(
    world: World,
    draw: Draw,
    pool: tuple[tuple[float, tuple[str, ...]], ...],
    shows_held_out: bool,
) -> tuple[str, list[Kind]]:
    """Background and kinds of things, drawn anew until their pairs suit the split."""
    held_out = held_out_pairs(world.name)
    count = draw.weighted(world.counts)
    while True:
        kinds = [_draw_kind(pool, draw) for _ in range(count)]
        if count == 2 and draw.chance(world.twins):
            kinds[1] = (kinds[0][0], _draw_colour(kinds[0][0], draw))
        background = draw.choice(background_names(world.name))
        if shows_held_out != held_out.isdisjoint(_pairs_of(background, kinds)):
            return background, kinds


def _draw_kind(pool: tuple[tuple[float, tuple[str, ...]], ...], draw: Draw) -> Kind:
    name = draw.choice(draw.weighted(pool) if len(pool) > 1 else pool[0][1])
    return name, _draw_colour(name, draw)


def _draw_colour(name: str, draw: Draw) -> str | None:
    colours = thing_named(name).colours
    return draw.choice(colours) if colours else None


def _place(world: World, draw: Draw, kinds: list[Kind]) -> tuple[Placed, ...]:
    """The things in a row or a column, more than two in two rows, so that they hardly overlap."""
    ((low, high),) = [(low, high) for count, low, high in world.scales if count == len(kinds)]
    scales = [draw.uniform(low, high) for _ in kinds]
    ys, xs = _in_a_line(draw, scales) if len(kinds) <= 2 else _in_two_rows(draw, scales)
    placed = [
        Placed(name, colour, y, x, scale, draw.uniform(-12, 12), _draw_flip(name, draw))
        for (name, colour), y, x, scale in zip(kinds, ys, xs, scales, strict=True)
    ]
    return tuple(draw.shuffled(placed))


def _in_a_line(draw: Draw, scales: list[float]) -> tuple[list[float], list[float]]:
    """Centres, down and across, of one thing or two beside or above each other."""
    along = _spread(draw, scales)
    across = [draw.uniform(0.48 * scale, 1 - 0.48 * scale) for scale in scales]
    if len(scales) > 1:
        # Kept near one line, so that "left of" or "above" is plain to see.
        across = [0.5 + 0.6 * (position - 0.5) for position in across]
    is_row = draw.chance(0.65)
    return (across, along) if is_row else (along, across)


def _in_two_rows(draw: Draw, scales: list[float]) -> tuple[list[float], list[float]]:
    """Centres, down and across, of three things or four."""
    upper = len(scales) // 2 if draw.chance(0.5) else (len(scales) + 1) // 2
    rows = (scales[:upper], scales[upper:])
    heights = [max(row) for row in rows]
    ys: list[float] = []
    xs: list[float] = []
    for row, height, middle in zip(rows, heights, _spread(draw, heights), strict=True):
        xs += _spread(draw, row)
        ys += [middle + draw.uniform(-0.5, 0.5) * (height - scale) for scale in row]
    return ys, xs


def _spread(draw: Draw, scales: list[float]) -> list[float]:
    """Centres along one direction that share the free room at random."""
    shares = [draw.unit() for _ in range(len(scales) + 1)]
    room = (1 - sum(scales)) / sum(shares)
    centres, end = [], 0.0
    for share, scale in zip(shares, scales, strict=False):
        centres.append(end + share * room + scale / 2)
        end += share * room + scale
    return centres


def _draw_flip(name: str, draw: Draw) -> bool:
    return draw.chance(0.5) and thing_named(name).is_flippable


def _pairs_of(background: str, kinds: list[Kind]) -> frozenset[Pair]:
    pairs = {(name, background) for name, _ in kinds}
    pairs |= {(colour, name) for name, colour in kinds if colour}
    pairs |= {_sorted_pair(one, other) for (one, _), (other, _) in combinations(kinds, 2)}
    return frozenset(pairs)


def _sorted_pair(one: str, other: str) -> Pair:
    return (one, other) if one < other else (other, one)


@lru_cache(maxsize=16384)
def _is_held_out(pair: Pair) -> bool:
    return stable_hash(_HELD_OUT_DRAW, *pair) < _HELD_OUT_SHARE * 2.0**128
