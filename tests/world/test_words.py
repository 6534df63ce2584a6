"""Captions and phrases say what is true of their scene, in words of the vocabulary."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from ldznet_core.world import (
    WORLDS,
    CaptionRates,
    Draw,
    Phrase,
    Scene,
    all_phrases,
    caption,
    caption_only_names,
    draw_layout,
    draw_phrases,
    mask_of,
    outside_nouns,
    render,
    scenes_with_masks,
    vocabulary,
)
from ldznet_core.world.backgrounds import BACKGROUNDS
from ldznet_core.world.objects import GROUP_PLURALS, THINGS, pluralise, thing_named, with_article

SCENES = [
    render(draw_layout(world, split, index), 64)
    for world, split, index in product(WORLDS, ("train", "comb"), range(60))
]
RELATION = re.compile(r"^an? (.+?) (left of|right of|above|below) an? (.+)$")
NAMES = {word: thing.name for thing in THINGS for word in (thing.name, *thing.synonyms)}


def phrases_of(scene: Scene, count: int = 30, absent: float = 0.2) -> list[Phrase]:
    layout = scene.layout
    draw = Draw("test", layout.split, layout.index)
    return draw_phrases(layout, scene.labels, draw, count, absent=absent)


def noun_of(text: str) -> str:
    return re.sub(r"^(an?|the) ", "", text)


def kind_of(noun_phrase: str) -> tuple[str | None, str]:
    colour, _, rest = noun_phrase.partition(" ")
    return (None, NAMES[noun_phrase]) if noun_phrase in NAMES else (colour, NAMES[rest])


def test_captions_never_change() -> None:
    layouts = [draw_layout("small", "train", index) for index in (0, 3, 7)]
    assert [caption(layout, plain=True) for layout in layouts] == [
        "a mushroom left of a turtle on a beach",
        "a turtle left of a blue car on a wooden table",
        "an owl on a wooden table",
    ]
    assert [caption(layout, Draw("words", 1)) for layout in layouts] == [
        "a toadstool next to a turtle at the beach",
        "a blue automobile next to a turtle",
        "an animal on a wooden table",
    ]


def test_a_plain_caption_names_everything() -> None:
    for scene in SCENES:
        text = caption(scene.layout, plain=True)
        assert text.endswith(
            next(each.place for each in BACKGROUNDS if each.name == scene.layout.background)
        )
        for thing in scene.layout.things:
            named = thing.name if thing.colour is None else f"{thing.colour} {thing.name}"
            assert with_article(named) in text


def test_relations_are_true() -> None:
    places = [place for each in BACKGROUNDS for place in (each.place, *each.synonyms)]
    rates = CaptionRates(empty=0, fewer=0, no_relation=0, no_colour=0, group=0, stuff=0)
    checked = 0
    for scene in SCENES:
        text = caption(scene.layout, Draw("relations", scene.layout.index), rates=rates)
        for place in places:
            text = text.removesuffix(f" {place}")
        match = RELATION.match(text)
        if match is None:
            continue
        checked += 1
        wanted = kind_of(match[1]), kind_of(match[3])
        truths = {
            "left of": lambda one, other: one.centre_x < other.centre_x,
            "right of": lambda one, other: one.centre_x > other.centre_x,
            "above": lambda one, other: one.centre_y < other.centre_y,
            "below": lambda one, other: one.centre_y > other.centre_y,
        }
        assert any(
            truths[match[2]](one, other)
            for one, other in (scene.layout.things, scene.layout.things[::-1])
            if ((one.colour, one.name), (other.colour, other.name)) == wanted
        ), text
    assert checked > 20


def test_rates_are_kept() -> None:
    layout = draw_layout("small", "train", 1)
    texts = [caption(layout, Draw("rates", index)) for index in range(2000)]
    assert texts.count("") / 2000 == pytest.approx(0.1, abs=0.03)
    assert caption(layout, Draw("x"), rates=CaptionRates(empty=1)) == ""


@pytest.mark.parametrize(("world", "untaught"), [("small", {","}), ("full", set())])
def test_captions_teach_every_word_that_phrases_use(world: str, untaught: set[str]) -> None:
    """A caption of `small` lists two things at most, so it has no comma."""
    taught = {
        word
        for index in range(3000)
        for word in caption(draw_layout(world, "train", index)).replace(",", " ,").split()
    }
    plurals = {word for noun in NAMES for word in pluralise(noun).split()}
    assert {*vocabulary(world)} - untaught - plurals - {*GROUP_PLURALS.values()} <= taught


def test_kinds_and_stuff_stand_in_their_sentence() -> None:
    layout = draw_layout("full", "train", 1)
    rates = CaptionRates(0, 0, 0, 0, 0, 0, group=1, stuff=1)
    assert caption(layout, plain=True) == "a red scooter left of a pink dress in a room"
    assert caption(layout, Draw("kinds"), rates=rates) == (
        "a pink dress right of a red vehicle in front of the wall"
    )


def test_of_stuff_a_caption_names_what_is_behind_the_things() -> None:
    """Else a text encoder could not tell apart what always comes together, as sea and sand do."""
    rates = CaptionRates(0, 0, 0, 0, 0, 0, group=0, stuff=1)
    low = draw_layout("small", "train", 0)
    assert low.background == "beach"
    for height, noun in ((0.05, "sky"), (0.95, "sand")):
        things = (replace(low.things[0], centre_y=height),)
        text = caption(replace(low, things=things), Draw("behind"), rates=rates)
        assert text.endswith(f" in front of the {noun}")


def test_absent_phrases_are_truly_absent() -> None:
    for scene in SCENES:
        things = scene.layout.things
        nouns = {region.name for region in scene.regions}
        groups = {group for thing in things for group in thing_named(thing.name).groups}
        groups |= {GROUP_PLURALS[group] for group in groups}
        for phrase in phrases_of(scene, absent=1):
            assert phrase.regions == ()
            noun = re.sub(r" on the (left|right)$", "", noun_of(phrase.text))
            assert noun not in nouns | groups
            if noun in NAMES or noun.partition(" ")[2] in NAMES:
                colour, name = kind_of(noun)
                assert (colour, name) not in {(thing.colour, thing.name) for thing in things}
                assert colour is not None or name not in {thing.name for thing in things}


def test_present_phrases_have_regions_that_can_be_seen() -> None:
    for scene in SCENES:
        for phrase in phrases_of(scene, absent=0):
            assert all((scene.labels == region).sum() > 0 for region in phrase.regions)
            assert phrase.regions
            assert not phrase.is_absent


def test_a_present_phrase_names_all_that_it_fits_and_nothing_else() -> None:
    for scene in SCENES:
        for phrase in phrases_of(scene, absent=0):
            noun = noun_of(phrase.text)
            if noun not in NAMES and noun.partition(" ")[2] not in NAMES:
                continue
            colour, name = kind_of(noun)
            fitting = {
                index
                for index, region in enumerate(scene.regions)
                if region.name == name and colour in (None, region.colour)
            }
            assert set(phrase.regions) == fitting


def test_a_side_is_true() -> None:
    checked = 0
    for scene in SCENES:
        for phrase in phrases_of(scene, absent=0):
            side = re.search(r" on the (left|right)$", phrase.text)
            if side is None:
                continue
            checked += 1
            (index,) = phrase.regions
            twins = [i for i, r in enumerate(scene.regions) if r.name == scene.regions[index].name]
            middles = {i: np.nonzero(scene.labels == i)[1].mean() for i in twins}
            others = [middles[i] for i in twins if i != index] or [31.5]
            is_left = middles[index] < others[0]
            assert is_left == (side[1] == "left")
    assert checked > 50


def test_a_group_is_the_union_of_its_members() -> None:
    for scene in SCENES:
        for phrase in phrases_of(scene, absent=0):
            noun = noun_of(phrase.text)
            for group, plural in GROUP_PLURALS.items():
                if noun in (group, plural):
                    members = [
                        index
                        for index, region in enumerate(scene.regions)
                        if region.kind == "thing" and group in thing_named(region.name).groups
                    ]
                    assert list(phrase.regions) == members


def test_a_sliver_is_neither_asked_for_nor_called_absent() -> None:
    layout = next(scene.layout for scene in SCENES if scene.layout.background == "beach")
    labels = np.zeros((64, 64), np.uint8)
    labels[0, :5] = 1
    for absent, texts in ((0.0, {"sky"}), (1.0, None)):
        asked = draw_phrases(layout, labels, Draw("sliver"), 100, absent=absent)
        nouns = {noun_of(phrase.text) for phrase in asked}
        assert nouns.isdisjoint({"sea", "sand"})
        assert texts is None or nouns == texts


def test_a_fifth_of_the_phrases_is_absent() -> None:
    absent = [phrase.is_absent for scene in SCENES for phrase in phrases_of(scene)]
    assert np.mean(absent) == pytest.approx(0.2, abs=0.02)


def test_all_phrases_cover_what_can_be_seen() -> None:
    for scene in SCENES:
        phrases = all_phrases(scene.layout, scene.labels)
        assert len({phrase.text for phrase in phrases}) == len(phrases)
        covered = mask_of(scene.labels, [index for each in phrases for index in each.regions])
        assert covered.mean() > 0.98


def test_a_mask_is_the_union_of_its_regions() -> None:
    labels = np.array([[0, 1], [2, 1]], np.uint8)
    np.testing.assert_array_equal(mask_of(labels, (1, 2)), [[False, True], [True, True]])
    assert not mask_of(labels, ()).any()


def test_the_vocabulary_holds_every_word() -> None:
    for scene in SCENES:
        known, outside = {*vocabulary(scene.layout.world)}, {*outside_nouns(scene.layout.world)}
        spoken = [caption(scene.layout, Draw("v", index)) for index in range(10)]
        spoken += [
            phrase.text for phrase in phrases_of(scene) if noun_of(phrase.text) not in outside
        ]
        assert {word for text in spoken for word in text.replace(",", " ,").split()} <= known


def test_outside_nouns_are_of_no_world() -> None:
    for world in WORLDS:
        inside = {word for word, name in NAMES.items() if world in thing_named(name).worlds}
        inside |= {noun for each in BACKGROUNDS if world in each.worlds for noun in each.stuff}
        assert {*inside, *GROUP_PLURALS}.isdisjoint(outside_nouns(world))


def test_no_phrase_of_training_names_a_caption_only_thing() -> None:
    hidden = {*caption_only_names("full")}
    hidden |= {word for word, name in NAMES.items() if name in hidden}
    for index in scenes_with_masks("full", "train", 60):
        layout = draw_layout("full", "train", index)
        for phrase in phrases_of(render(layout, 64), absent=0.5):
            noun = re.sub(r" on the (left|right)$", "", noun_of(phrase.text))
            assert noun not in hidden
            assert noun.partition(" ")[2] not in hidden


def test_plurals_and_articles() -> None:
    assert [pluralise(noun) for noun in ("butterfly", "toy", "cactus", "red apple")] == [
        "butterflies",
        "toys",
        "cacti",
        "red apples",
    ]
    assert (with_article("owl"), with_article("red owl")) == ("an owl", "a red owl")
