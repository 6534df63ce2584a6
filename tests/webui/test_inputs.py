"""Phrases as the networks take them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ldznet_core import InputError, tokenizer
from ldznet_webui.inputs import count_tokens, token_rows

PHRASES = ("", "owl", "a red car in a meadow", "(owl:1.3) [x|y]")
START, END = 49406, 49407


@dataclass
class Encoder:
    """As hosts have them, with CLIP's real tokenizer."""

    id_pad: int = END
    id_start: int = START
    id_end: int = END
    adds: int = 0
    """Tokens that it has more than others, as other rules for signs would make them."""

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        rows = tokenizer.tokenizer()(texts, truncation=False, add_special_tokens=False)["input_ids"]
        return [[*row, *[1] * self.adds] for row in rows]


def test_tokens_are_counted_as_the_library_counts_them() -> None:
    counts = count_tokens([Encoder()], PHRASES)
    assert counts == tokenizer.count_tokens(PHRASES)
    assert counts[:2] == [2, 3]


def test_of_two_encoders_the_longer_row_counts() -> None:
    assert count_tokens([Encoder(), Encoder(adds=2)], PHRASES[:2]) == [4, 5]


def test_so_many_come_before_the_filling() -> None:
    rows = token_rows(Encoder(), PHRASES)
    assert rows.equal(tokenizer.tokenize(PHRASES))
    for row, count in zip(rows, count_tokens([Encoder()], PHRASES), strict=True):
        assert len(set(row[count - 1 :].tolist())) == 1


def test_openclip_fills_up_with_another_token_than_its_end() -> None:
    owl = token_rows(Encoder(id_pad=0), ["owl"])[0].tolist()
    assert owl[0] == START
    assert owl[2:] == [END, *[0] * 74]


def test_a_phrase_that_is_too_long_is_a_sentence() -> None:
    with pytest.raises(InputError, match="at most 77 tokens, got 102"):
        token_rows(Encoder(), ["owl " * 100])
