"""Layouts are what they always were, keep to their split, and stay within the picture."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import combinations, product

import pytest

from ldznet_core.errors import InputError
from ldznet_core.world import (
    SPLITS,
    WORLDS,
    Draw,
    Layout,
    background_names,
    caption_only_names,
    draw_layout,
    held_out_pairs,
    masked_names,
    scenes_with_masks,
    thing_names,
)

# A change here changes what every trained network was trained on and measured by.
FIRST_TWENTY = {
    ("small", "train"): "1e96304977a51fc9",
    ("small", "validation"): "ee1294acf1bd9a51",
    ("small", "iid"): "c5f55162b946940e",
    ("small", "comb"): "d1edbf014fb1f0e2",
    ("small", "style"): "f4251d0ae85a0a41",
    ("full", "train"): "aadbd343a3e235b1",
    ("full", "validation"): "bd01e8c47420235c",
    ("full", "iid"): "969638bfd4adc0b9",
    ("full", "comb"): "3c21e6d06cb31f18",
    ("full", "style"): "1b825c6ee52685fb",
    ("full", "caption-only"): "7c6e758351492307",
}
both_worlds = pytest.mark.parametrize("world", ["small", "full"])


def layouts(split: str, count: int = 400, world: str = "small") -> list[Layout]:
    return [draw_layout(world, split, index) for index in range(count)]


@pytest.mark.parametrize(("world", "split"), FIRST_TWENTY)
def test_layouts_never_change(world: str, split: str) -> None:
    text = repr(layouts(split, 20, world))
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    assert digest == FIRST_TWENTY[world, split]


def test_every_split_of_every_world_is_held_to_its_hash() -> None:
    assert {*FIRST_TWENTY} == {*product(WORLDS, SPLITS)} - {("small", "caption-only")}


def test_a_layout_does_not_depend_on_the_ones_drawn_before() -> None:
    alone = draw_layout("small", "train", 17)
    assert layouts("train", 20)[17] == alone


@both_worlds
def test_splits_share_no_layout(world: str) -> None:
    contents = [
        {(layout.background_seed, layout.things) for layout in layouts(split, 400, world)}
        for split in SPLITS
        if split != "style" and (world, split) in FIRST_TWENTY
    ]
    assert all(one.isdisjoint(other) for one, other in combinations(contents, 2))


@both_worlds
@pytest.mark.parametrize("split", ["train", "validation", "iid", "style"])
def test_no_held_out_pair_outside_comb(world: str, split: str) -> None:
    held_out = held_out_pairs(world)
    assert all(held_out.isdisjoint(layout.pairs) for layout in layouts(split, 400, world))


@both_worlds
def test_every_comb_scene_shows_a_held_out_pair(world: str) -> None:
    held_out = held_out_pairs(world)
    assert not any(held_out.isdisjoint(layout.pairs) for layout in layouts("comb", 400, world))


def test_every_held_out_pair_occurs_in_comb() -> None:
    shown = frozenset[tuple[str, str]]().union(*(layout.pairs for layout in layouts("comb", 1500)))
    assert held_out_pairs("small") <= shown


def test_about_fifteen_percent_of_the_pairs_are_held_out() -> None:
    assert len(held_out_pairs("small")) == 23  # of 72 + 12 + 66
    assert len(held_out_pairs("full")) == 1351  # of 1680 + 132 + 7140


@both_worlds
def test_training_shows_every_thing_background_and_colour(world: str) -> None:
    shown = layouts("train", 1200, world)
    assert {thing.name for layout in shown for thing in layout.things} == {*thing_names(world)}
    assert {layout.background for layout in shown} == {*background_names(world)}
    colours = {thing.colour for layout in shown for thing in layout.things}
    more = {"pink"} if world == "full" else set()
    assert colours == {None, "red", "yellow", "green", "blue", "purple"} | more


def test_a_third_of_the_full_world_s_things_is_known_by_caption_alone() -> None:
    assert len(masked_names("full")) == 80
    assert len(caption_only_names("full")) == 40
    assert caption_only_names("small") == ()
    hidden = {*caption_only_names("full")}
    shown = [
        thing.name in hidden for each in layouts("train", 2000, "full") for thing in each.things
    ]
    assert sum(shown) / len(shown) == pytest.approx(1 / 3, abs=0.03)


def test_heads_learn_from_scenes_without_caption_only_things() -> None:
    hidden = {*caption_only_names("full")}
    for split in SPLITS:
        indices = scenes_with_masks("full", split, 400)
        assert len(indices) == (200 if split == "train" else 400)
        shown = {
            thing.name for index in indices for thing in draw_layout("full", split, index).things
        }
        assert shown <= hidden if split == "caption-only" else shown.isdisjoint(hidden)
    assert scenes_with_masks("small", "train", 7) == range(7)


@both_worlds
def test_style_is_iid_in_other_pictures(world: str) -> None:
    for iid, style in zip(layouts("iid", 50, world), layouts("style", 50, world), strict=True):
        assert style.things == iid.things
        assert iid.style == "noto"
        assert style.style in ("fluent", "twemoji")


@both_worlds
def test_things_lie_within_the_picture_and_hardly_overlap(world: str) -> None:
    for layout in layouts("train", 400, world):
        for thing in layout.things:
            for centre in (thing.centre_y, thing.centre_x):
                assert 0.45 * thing.scale <= centre <= 1 - 0.45 * thing.scale
        for one, other in combinations(layout.things, 2):
            apart = max(abs(one.centre_y - other.centre_y), abs(one.centre_x - other.centre_x))
            assert apart >= 0.999 * (one.scale + other.scale) / 2


def test_the_share_of_single_things_is_as_asked() -> None:
    singles = sum(len(layout.things) == 1 for layout in layouts("train", 2000))
    assert singles / 2000 == pytest.approx(0.6, abs=0.04)


def test_the_full_world_s_scenes_have_one_to_four_things() -> None:
    counts = Counter(len(layout.things) for layout in layouts("iid", 2000, "full"))
    shares = [counts[number] / 2000 for number in (1, 2, 3, 4)]
    assert shares == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.04)


@pytest.mark.parametrize(
    ("world", "split", "index"), [("huge", "train", 0), ("small", "test", 0), ("small", "iid", -1)]
)
def test_an_unknown_layout_is_refused(world: str, split: str, index: int) -> None:
    with pytest.raises(InputError, match="choose one of those"):
        draw_layout(world, split, index)


def test_a_world_without_caption_only_things_lacks_their_split() -> None:
    with pytest.raises(InputError, match="choose another split"):
        draw_layout("small", "caption-only", 0)


def test_draws_are_even_and_named() -> None:
    draw = Draw("even")
    units = [draw.unit() for _ in range(4000)]
    assert sum(units) / 4000 == pytest.approx(0.5, abs=0.02)
    assert 0 <= min(units) < max(units) < 1
    assert Draw("a", 1).unit() == Draw("a", 1).unit() != Draw("a", 2).unit()
