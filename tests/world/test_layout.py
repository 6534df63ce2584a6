"""Layouts are what they always were, keep to their split, and stay within the picture."""

from __future__ import annotations

import hashlib
from itertools import combinations

import pytest

from ldznet_core.errors import InputError
from ldznet_core.world import (
    SPLITS,
    Draw,
    Layout,
    background_names,
    draw_layout,
    held_out_pairs,
    thing_names,
)

# A change here changes what every trained network was trained on and measured by.
FIRST_TWENTY = {
    "train": "1e96304977a51fc9",
    "validation": "ee1294acf1bd9a51",
    "iid": "c5f55162b946940e",
    "comb": "d1edbf014fb1f0e2",
    "style": "f4251d0ae85a0a41",
}


def layouts(split: str, count: int = 400) -> list[Layout]:
    return [draw_layout("small", split, index) for index in range(count)]


@pytest.mark.parametrize("split", SPLITS)
def test_layouts_never_change(split: str) -> None:
    text = repr(layouts(split, 20))
    assert hashlib.blake2b(text.encode(), digest_size=8).hexdigest() == FIRST_TWENTY[split]


def test_a_layout_does_not_depend_on_the_ones_drawn_before() -> None:
    alone = draw_layout("small", "train", 17)
    assert layouts("train", 20)[17] == alone


def test_splits_share_no_layout() -> None:
    contents = [
        {(layout.background_seed, layout.things) for layout in layouts(split)}
        for split in SPLITS
        if split != "style"
    ]
    assert all(one.isdisjoint(other) for one, other in combinations(contents, 2))


@pytest.mark.parametrize("split", ["train", "validation", "iid", "style"])
def test_no_held_out_pair_outside_comb(split: str) -> None:
    held_out = held_out_pairs("small")
    assert all(held_out.isdisjoint(layout.pairs) for layout in layouts(split))


def test_every_comb_scene_shows_a_held_out_pair() -> None:
    held_out = held_out_pairs("small")
    assert not any(held_out.isdisjoint(layout.pairs) for layout in layouts("comb"))


def test_every_held_out_pair_occurs_in_comb() -> None:
    shown = frozenset[tuple[str, str]]().union(*(layout.pairs for layout in layouts("comb", 1500)))
    assert held_out_pairs("small") <= shown


def test_about_fifteen_percent_of_the_pairs_are_held_out() -> None:
    assert len(held_out_pairs("small")) == 23  # of 72 + 12 + 66


def test_training_shows_every_thing_background_and_colour() -> None:
    shown = layouts("train", 600)
    assert {thing.name for layout in shown for thing in layout.things} == {*thing_names("small")}
    assert {layout.background for layout in shown} == {*background_names("small")}
    colours = {thing.colour for layout in shown for thing in layout.things}
    assert colours == {None, "red", "yellow", "green", "blue", "purple"}


def test_style_is_iid_in_other_pictures() -> None:
    for iid, style in zip(layouts("iid", 50), layouts("style", 50), strict=True):
        assert style.things == iid.things
        assert iid.style == "noto"
        assert style.style in ("fluent", "twemoji")


def test_things_lie_within_the_picture_and_hardly_overlap() -> None:
    for layout in layouts("train"):
        for thing in layout.things:
            for centre in (thing.centre_y, thing.centre_x):
                assert 0.45 * thing.scale <= centre <= 1 - 0.45 * thing.scale
        for one, other in combinations(layout.things, 2):
            apart = max(abs(one.centre_y - other.centre_y), abs(one.centre_x - other.centre_x))
            assert apart >= 0.999 * (one.scale + other.scale) / 2


def test_the_share_of_single_things_is_as_asked() -> None:
    singles = sum(len(layout.things) == 1 for layout in layouts("train", 2000))
    assert singles / 2000 == pytest.approx(0.6, abs=0.04)


@pytest.mark.parametrize(
    ("world", "split", "index"), [("huge", "train", 0), ("small", "test", 0), ("small", "iid", -1)]
)
def test_an_unknown_layout_is_refused(world: str, split: str, index: int) -> None:
    with pytest.raises(InputError, match="choose one of those"):
        draw_layout(world, split, index)


def test_draws_are_even_and_named() -> None:
    draw = Draw("even")
    units = [draw.unit() for _ in range(4000)]
    assert sum(units) / 4000 == pytest.approx(0.5, abs=0.02)
    assert 0 <= min(units) < max(units) < 1
    assert Draw("a", 1).unit() == Draw("a", 1).unit() != Draw("a", 2).unit()
