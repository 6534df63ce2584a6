"""Examples from a data set's rows: where they are cut, what is asked, and what is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="training needs the extra `train`")

from ldznet_core.data_sets import Row
from ldznet_core.data_sets.shapes import Nothing
from ldznet_core.errors import InputError
from ldznet_core.training import Plan
from ldznet_core.training.data.crops import square_around
from ldznet_core.training.data.examples import Asking, Example, Examples
from ldznet_core.training.data.held_out import hold_out, questions
from ldznet_core.training.data.wording import may_mean_the_same, read_phrase, tells_sides
from ldznet_core.world.draw import Draw

from .coloured import COLOURS, SIZE, SQUARE

ASKING = Asking(side=64, phrases=4, negatives=0.4, template="{}")


def drawn(examples: Examples, count: int = 60) -> list[Example]:
    return [
        examples.example(number % len(examples), Draw("test", number)) for number in range(count)
    ]


class TestWording:
    @pytest.mark.parametrize(
        ("phrase", "head"),
        [
            ("red car", "car"),
            ("the two Walking Women in hats", "person"),
            ("window of a car", "window"),
            ("front of the buses", "bus"),
            ("glasses on a table", "glass"),
            ("wearing a shirt", "shirt"),
            ("the left one", ""),
        ],
    )
    def test_the_word_that_says_what_is_asked_for(self, phrase: str, head: str) -> None:
        assert read_phrase(phrase).head == head

    @pytest.mark.parametrize(
        ("phrase", "other", "is_risky"),
        [
            ("car", "red cars", True),
            ("man in red shirt", "shirt", True),
            ("boy", "two women", True),
            ("car window", "car", True),
            ("red car", "red ball", False),
            ("dog", "grass", False),
            ("left", "grass", True),
        ],
    )
    def test_what_may_mean_the_same(self, phrase: str, other: str, is_risky: bool) -> None:
        assert may_mean_the_same(phrase, other) is is_risky
        assert may_mean_the_same(other, phrase) is is_risky

    def test_sides_are_words_of_their_own(self) -> None:
        assert tells_sides("car on the LEFT")
        assert not tells_sides("bright leftovers")


class TestSquares:
    @pytest.mark.parametrize("size", [(40, 90), (90, 40), (50, 50)])
    def test_they_are_as_large_as_can_be_and_show_the_whole_thing(
        self, size: tuple[int, int]
    ) -> None:
        mask = np.zeros(size, dtype=bool)
        mask[10:25, 20:35] = True
        found = {square_around(mask, Draw("test", number)) for number in range(50)}
        for square in found:
            assert square.side == min(size)
            assert square.part(mask).shape == (square.side, square.side)
            assert square.part(mask).sum() == mask.sum()
        assert len(found) == (1 if size == (50, 50) else len(found))
        assert size == (50, 50) or len(found) > 10

    def test_of_a_thing_that_is_too_long_they_show_what_they_can(self) -> None:
        mask = np.zeros((40, 200), dtype=bool)
        mask[10:20, 30:190] = True
        for number in range(50):
            part = square_around(mask, Draw("test", number)).part(mask)
            assert part.sum() >= 0.95 * 10 * 40

    def test_a_mask_is_scaled_with_its_picture(self) -> None:
        mask = np.zeros((100, 150), dtype=bool)
        mask[20:60, 40:80] = True
        square = square_around(mask, Draw("test"))
        scaled = square.mask(mask, 50)
        assert scaled.shape == (50, 50)
        assert scaled.sum() == pytest.approx(mask.sum() / 4, rel=0.1)


class TestExamples:
    def test_what_is_not_there_has_an_empty_mask_and_names_nothing_of_the_picture(
        self, rows: list[Row]
    ) -> None:
        examples = Examples(rows, ASKING)
        absent = 0
        for number, example in enumerate(drawn(examples)):
            picture = examples._rows[number % len(examples)].picture
            own = [row.phrase for row in rows if row.picture == picture]
            for phrase, mask in zip(example.phrases, example.masks, strict=True):
                assert mask.any() == (phrase in own)
                if not mask.any():
                    absent += 1
                    assert not any(may_mean_the_same(phrase, each) for each in own)
        assert 0.3 < absent / (60 * ASKING.phrases) < 0.5

    def test_masks_lie_on_what_they_name_mirrored_or_not(self, rows: list[Row]) -> None:
        for example in drawn(Examples(rows, ASKING)):
            pixels = np.asarray(example.picture, dtype=float)
            for phrase, mask in zip(example.phrases, example.masks, strict=True):
                if mask.any():
                    seen = pixels[mask].mean(axis=0) - pixels[mask].mean()
                    told = np.array(COLOURS[phrase]) - np.mean(COLOURS[phrase])
                    assert (np.sign(seen.round()) * np.sign(told.round()) >= 0).all()
                    assert mask.sum() == pytest.approx(SQUARE**2 * (64 / SIZE[0]) ** 2, rel=0.1)

    def test_views_are_mirrored_but_not_where_sides_are_told(self, rows: list[Row]) -> None:
        asking = replace(ASKING, phrases=1, negatives=0.0)

        def lefts(examples: Examples) -> set[bool]:
            found = set()
            for number in range(60):
                (mask,) = examples.example(0, Draw("test", number)).masks
                found.add(bool(mask[:, :32].sum() > mask[:, 32:].sum()))
            return found

        sided = [replace(row, phrase=f"{row.phrase} on the left") for row in rows]
        assert lefts(Examples(rows, asking)) == {True, False}
        assert lefts(Examples(sided, asking)) == {True}

    def test_the_template_is_around_every_phrase(self, rows: list[Row]) -> None:
        examples = Examples(rows, replace(ASKING, template="a photo of {}."))
        batch = examples.batch(Plan(steps=1, batch=8, learning_rate=1), 0, 0)
        assert len(batch["phrases"]) == len(batch["masks"]) == 32
        assert all(each.startswith("a photo of ") for each in batch["phrases"])
        assert "" in batch["conditions"]
        assert "a photo of ." not in batch["conditions"]

    def test_a_head_that_is_asked_one_phrase_has_its_features_under_it(
        self, rows: list[Row]
    ) -> None:
        examples = Examples(rows, replace(ASKING, phrases=1))
        batch = examples.batch(Plan(steps=1, batch=8, learning_rate=1), 0, 0)
        assert batch["conditions"] == batch["phrases"]

    def test_a_batch_depends_on_seed_step_and_process_alone(self, rows: list[Row]) -> None:
        plan = Plan(steps=9, batch=2, learning_rate=1)

        def told(plan: Plan, step: int, process: int) -> tuple[object, ...]:
            batch = Examples(rows, ASKING).batch(plan, step, process)
            return batch["phrases"], batch["noise_seeds"], batch["pictures"][0].tobytes()

        assert told(plan, 3, 0) == told(plan, 3, 0)
        others = {told(plan, 4, 0)[1][0], told(plan, 3, 1)[1][0]}
        others.add(told(replace(plan, seed=1), 3, 0)[1][0])
        assert len(others | {told(plan, 3, 0)[1][0]}) == 4

    def test_features_are_taken_within_the_window(self, rows: list[Row]) -> None:
        batch = Examples(rows, ASKING).batch(Plan(steps=1, batch=30, learning_rate=1), 0, 0)
        assert 300 <= batch["timesteps"].min() < batch["timesteps"].max() <= 500
        assert batch["timesteps"].dtype == torch.int64

    def test_rows_that_the_data_set_calls_absent_are_asked_of_their_own_picture(
        self, rows: list[Row]
    ) -> None:
        told = Row(rows[0].picture, "purple whale", Nothing(), is_absent=True)
        examples = Examples([*rows, told], replace(ASKING, negatives=0.9))
        asked = {
            phrase
            for number in range(20)
            for phrase in examples.example(0, Draw("test", number)).phrases
        }
        elsewhere = {
            phrase
            for number in range(20)
            for phrase in examples.example(4, Draw("test", number)).phrases
        }
        assert "purple whale" in asked
        assert "purple whale" not in elsewhere

    def test_a_picture_of_another_size_than_its_masks_gives_way(self, rows: list[Row]) -> None:
        wrong = [replace(row, size=(5, 5)) for row in rows[:2]]
        example = Examples([*wrong, *rows[2:]], ASKING).example(0, Draw("test"))
        own = {row.phrase for row in rows if row.picture == rows[2].picture}
        assert own & set(example.phrases)
        with pytest.raises(InputError, match="sizes that their masks were drawn for"):
            Examples(wrong, ASKING).example(0, Draw("test"))

    def test_there_must_be_something_to_learn(self, rows: list[Row]) -> None:
        absent = [replace(row, is_absent=True) for row in rows]
        for nothing in ([], absent):
            with pytest.raises(InputError, match="expected rows with masks"):
                Examples(nothing, ASKING)


class TestHoldingOut:
    def test_no_picture_is_on_both_sides(self, rows: list[Row]) -> None:
        learned, held_out = hold_out(rows, 100)
        assert len({row.picture for row in held_out}) == 1
        assert not {row.picture for row in learned} & {row.picture for row in held_out}
        assert len(learned) + len(held_out) == len(rows)

    def test_the_order_of_rows_plays_no_part(self, rows: list[Row]) -> None:
        chosen = {row.picture for row in hold_out(rows, 1)[1]}
        assert chosen == {row.picture for row in hold_out(rows[::-1], 1)[1]}

    def test_of_pictures_of_one_name_the_first_is_held_out(self, rows: list[Row]) -> None:
        named = [
            replace(rows[0], picture=Path(f"clip-{number}", "0.png")) for number in range(9, 0, -1)
        ]
        assert [row.picture for row in hold_out(named, 1)[1]] == [Path("clip-9", "0.png")]

    def test_none_is_held_out_if_none_is_wanted(self, rows: list[Row]) -> None:
        assert hold_out(rows, 0)[1] == []

    def test_as_much_is_asked_that_is_there_as_that_is_not(self, rows: list[Row]) -> None:
        asked = questions(rows, Examples(rows, ASKING), 5)
        assert sum(row.is_absent for row in asked) == 5
        assert len(asked) == 10
        assert asked != sorted(asked, key=lambda row: row.is_absent)  # by picture
