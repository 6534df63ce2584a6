"""Phrases as the networks take them."""

from __future__ import annotations

from ldznet_core import tokenizer
from ldznet_webui.inputs import count_tokens, token_rows

PHRASES = ("", "owl", "a red car in a meadow", "(owl:1.3) [x|y]")


def test_tokens_are_counted_as_the_library_counts_them() -> None:
    counts = count_tokens(tokenizer.tokenizer(), PHRASES)
    assert counts == tokenizer.count_tokens(PHRASES)
    assert counts[:2] == [2, 3]


def test_so_many_come_before_the_filling() -> None:
    rows = token_rows(tokenizer.tokenizer(), PHRASES)
    assert rows.equal(tokenizer.tokenize(PHRASES))
    for row, count in zip(rows, count_tokens(tokenizer.tokenizer(), PHRASES), strict=True):
        assert len(set(row[count - 1 :].tolist())) == 1
