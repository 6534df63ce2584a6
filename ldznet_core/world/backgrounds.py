"""Procedural backgrounds with exact masks of their stuff (sky, sea, brick wall ...)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import painters
from .draw import Draw
from .textures import Labels, Picture

Painter = Callable[[Draw, int], tuple[Picture, Labels]]
_FULL = ("full",)


@dataclass(frozen=True, slots=True)
class Background:
    """One kind of background.

    Attributes:
        name: its name in the table.
        place: the prepositional phrase that says one is there.
        synonyms: other such phrases.
        stuff: the nouns of its regions, in the order of the painter's labels.
        implied: nouns that are neither rightly asked for here nor surely absent.
        paint: makes the picture ``(S, S, 3)`` in [0, 255] and the labels ``(S, S)``.
        worlds: the worlds it lies in.
    """

    name: str
    place: str
    synonyms: tuple[str, ...]
    stuff: tuple[str, ...]
    implied: tuple[str, ...]
    paint: Painter
    worlds: tuple[str, ...] = ("small", "full")


def paint_background(name: str, seed: int, side: int) -> tuple[Picture, Labels]:
    """The picture ``(side, side, 3)`` in [0, 255] and the stuff's index ``(side, side)``."""
    return background_named(name).paint(Draw("background", name, seed), side)


def background_named(name: str) -> Background:
    """The row of the table with this name."""
    return _BY_NAME[name]


BACKGROUNDS: tuple[Background, ...] = (
    Background(
        "beach", "on a beach", ("at the beach",), ("sky", "sea", "sand"), (), painters.beach
    ),
    Background("meadow", "in a meadow", ("on the grass",), ("sky", "grass"), (), painters.meadow),
    Background(
        "brick wall",
        "in front of a brick wall",
        ("by a brick wall",),
        ("brick wall",),
        ("wall",),
        painters.brick_wall,
    ),
    Background(
        "wooden table",
        "on a wooden table",
        ("on a table",),
        ("wooden table",),
        ("table",),
        painters.wooden_table,
    ),
    Background(
        "night sky", "in the night sky", ("at night",), ("night sky",), ("sky",), painters.night_sky
    ),
    Background(
        "snowy field",
        "in a snowy field",
        ("in the snow",),
        ("sky", "snow"),
        (),
        painters.snowy_field,
    ),
    Background(
        "desert",
        "in a desert",
        ("among dunes",),
        ("sky", "dunes"),
        ("sand",),
        painters.desert,
        _FULL,
    ),
    Background(
        "mountains",
        "in front of mountains",
        ("in the mountains",),
        ("sky", "mountains", "grass"),
        (),
        painters.mountains,
        _FULL,
    ),
    Background(
        "road", "on a road", ("on the street",), ("sky", "grass", "road"), (), painters.road, _FULL
    ),
    Background(
        "fence",
        "in front of a fence",
        ("by a fence",),
        ("sky", "fence", "grass"),
        (),
        painters.fence,
        _FULL,
    ),
    Background(
        "room",
        "in a room",
        ("on a wooden floor",),
        ("wall", "wooden floor"),
        ("floor",),
        painters.room,
        _FULL,
    ),
    Background(
        "under water",
        "under water",
        ("at the bottom of the sea",),
        ("water", "seabed"),
        ("sea", "sand"),
        painters.under_water,
        _FULL,
    ),
    Background(
        "tiled floor",
        "on a tiled floor",
        ("on tiles",),
        ("tiled floor",),
        ("floor",),
        painters.tiled_floor,
        _FULL,
    ),
    Background(
        "stage",
        "on a stage",
        ("in front of a curtain",),
        ("curtain", "stage"),
        ("floor",),
        painters.stage,
        _FULL,
    ),
)

_BY_NAME = {background.name: background for background in BACKGROUNDS}
