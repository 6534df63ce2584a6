"""Scores of phrases: the formula written out agrees, and what they must not depend on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ldznet_core.training_free import LAYERS
from ldznet_core.training_free.attention import Attention, Words
from ldznet_core.training_free.links import Links
from ldznet_core.training_free.words import (
    compete,
    score_block,
    score_words,
)

from . import literal
from .small import FAMILY_OF, UNETS, attention_for, noise, random_words

COUNTS = (1, 4)


class TestOneBlock:
    @pytest.mark.parametrize("heads", [1, 3])
    @pytest.mark.parametrize("counts", [(1,), (75,), (2, 1, 7)])
    def test_the_formula_written_out_gives_the_same(
        self, heads: int, counts: tuple[int, ...]
    ) -> None:
        words = random_words(phrases=len(counts), heads=heads)
        expected = literal.block_scores(words, counts)
        literal.assert_near(score_block(words, counts), expected)

    @pytest.mark.parametrize("name", UNETS)
    def test_so_it_does_on_what_a_unet_asks(self, name: str) -> None:
        attention = attention_for(name, (3, 6), size=(8, 16))
        words = next(iter(attention.words.values()))
        expected = literal.block_scores(words, attention.counts)
        literal.assert_near(score_block(words, attention.counts), expected)

    def test_only_directions_count(self) -> None:
        words = random_words()
        longer = Words(words.queries * 7, words.keys * 3)
        torch.testing.assert_close(score_block(longer, COUNTS), score_block(words, COUNTS))

    def test_what_all_keys_share_does_not_count(self) -> None:
        words = random_words()
        shifted = Words(words.queries, words.keys + noise(2, 3, 1, 5, seed=8))
        torch.testing.assert_close(score_block(shifted, COUNTS), score_block(words, COUNTS))

    def test_tokens_behind_the_phrase_do_not_count(self) -> None:
        words = random_words()
        keys = words.keys.clone()
        keys[0, :, 2:] = 99
        changed = score_block(Words(words.queries, keys), COUNTS)
        assert torch.equal(changed[0], score_block(words, COUNTS)[0])

    def test_a_query_that_asks_for_a_word_alone_scores_1_and_its_opposite_minus_1(self) -> None:
        words = random_words(phrases=1)
        asked = words.keys[0, :, 1] - words.keys[0, :, 0]
        queries = torch.stack([asked, -asked], dim=1)
        scores = score_block(Words(queries, words.keys), (1,))
        torch.testing.assert_close(scores, torch.tensor([[1.0, -1.0]]))

    @given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 8))
    def test_scores_lie_between_minus_1_and_1(self, seed: int, heads: int, count: int) -> None:
        scores = score_block(random_words(1, heads, tokens=9, seed=seed), (count,))
        assert scores.abs().max() <= 1 + 1e-6

    def test_a_phrase_scores_the_same_in_any_company(self) -> None:
        words = random_words(phrases=3)
        together = score_block(words, (1, 4, 2))
        for index, count in enumerate((1, 4, 2)):
            alone = score_block(Words(words.queries, words.keys[index : index + 1]), (count,))
            torch.testing.assert_close(alone[0], together[index], atol=1e-6, rtol=0)


class TestSeveralBlocks:
    def test_the_formula_written_out_gives_the_same_on_grids_of_two_sizes(self) -> None:
        coarse, fine = random_words(positions=12), random_words(positions=48, seed=3)
        attention = Attention({1: coarse, 2: fine}, Links({}), COUNTS, 100.0, "probe")
        grids = ((3, 4), (6, 8))
        blocks = [
            torch.stack(
                [
                    literal.bicubic(scores.reshape(grid), grids[1])
                    for scores in literal.block_scores(words, COUNTS)
                ]
            )
            for words, grid in zip((coarse, fine), grids, strict=True)
        ]
        expected = (blocks[0] + blocks[1]) / 2
        literal.assert_near(score_words(attention, (12, 16), (1, 2)), expected)

    def test_only_the_blocks_that_are_asked_for_count(self) -> None:
        words = {1: random_words(), 2: random_words(seed=3), 7: random_words(seed=5)}
        attention = Attention(words, Links({}), COUNTS, 100.0, "probe")
        expected = [literal.block_scores(words[block], COUNTS).reshape(2, 3, 4) for block in (2, 7)]
        literal.assert_near(
            score_words(attention, (12, 16), (2, 7)), (expected[0] + expected[1]) / 2
        )

    @pytest.mark.parametrize("grid", [(3, 4), (6, 8), (2, 2), (12, 16)])
    def test_they_come_on_any_grid(self, grid: tuple[int, int]) -> None:
        attention = Attention({1: random_words(positions=48)}, Links({}), COUNTS, 100.0, "probe")
        fit = literal.bicubic if grid[0] > 6 else literal.averaged
        blocks = literal.block_scores(attention.words[1], COUNTS)
        expected = torch.stack([fit(scores.reshape(6, 8), grid) for scores in blocks])
        literal.assert_near(score_words(attention, (12, 16), (1,), grid), expected)

    @pytest.mark.parametrize("name", UNETS)
    def test_the_scores_have_the_finest_grid_of_a_familys_words(self, name: str) -> None:
        blocks = LAYERS[FAMILY_OF[name]].words
        scores = score_words(attention_for(name, (3, 4)), (16, 24), blocks)
        assert scores.shape == ((2, 8, 12) if name == "ours" else (2, 4, 6))


class TestCompetition:
    @pytest.mark.parametrize("phrases", [1, 2, 4])
    def test_the_formula_written_out_gives_the_same(self, phrases: int) -> None:
        scores = noise(phrases, 3, 4).tanh()
        expected = literal.competing(scores, 20.0)
        literal.assert_near(compete(scores), expected)

    def test_a_phrase_alone_keeps_its_scores(self) -> None:
        scores = noise(1, 3, 4)
        assert torch.equal(compete(scores), scores)

    def test_where_two_compete_one_has_what_the_other_lacks(self) -> None:
        left = compete(noise(2, 3, 4))
        torch.testing.assert_close(left[0], -left[1], atol=1e-5, rtol=0)

    def test_great_sharpness_does_not_overflow(self) -> None:
        assert compete(noise(3, 2, 2), sharpness=1e6).isfinite().all()
