"""Phrases: what is read, and what is refused in which words."""

from __future__ import annotations

import pytest

from ldznet_core.errors import InputError
from ldznet_core.phrases import (
    check_negatives,
    check_phrases,
    check_texts,
    check_token_count,
    fill_template,
    hint_on_lines,
    parse_phrases,
    without_article,
)


def test_a_text_field_holds_a_phrase_on_each_line_that_is_not_blank() -> None:
    assert parse_phrases(" red car \r\n\n\tthe sky\n") == ["red car", "the sky"]
    assert parse_phrases(" \n ") == []


def test_phrases_lose_the_blanks_around_them_and_keep_their_order() -> None:
    assert check_phrases([" cat", "a dog ", "cat"]) == ("cat", "a dog", "cat")


@pytest.mark.parametrize(
    ("phrase", "rest"),
    [
        ("the red car", "red car"),
        ("An  owl", "owl"),
        ("a", "a"),
        ("the", "the"),
        ("another car", "another car"),
        ("theatre", "theatre"),
        ("man in the moon", "man in the moon"),
        ("the the band", "the band"),
    ],
)
def test_an_article_is_left_out_in_front_alone(phrase: str, rest: str) -> None:
    assert without_article(phrase) == rest


def test_no_phrase_is_refused() -> None:
    with pytest.raises(InputError, match="at least one phrase, got none"):
        check_phrases([])


def test_no_negative_is_fine() -> None:
    assert check_negatives(()) == ()


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_phrase_is_refused_by_its_number(empty: str) -> None:
    with pytest.raises(InputError, match="an empty one as number 2"):
        check_phrases(["cat", empty])


def test_a_string_is_not_taken_for_a_list_of_letters() -> None:
    with pytest.raises(InputError, match=r"write \['cat'\]"):
        check_phrases("cat")
    with pytest.raises(InputError, match=r"a list of negative phrases, .* write \['cat'\]"):
        check_negatives("cat")


def test_what_is_no_string_is_refused() -> None:
    with pytest.raises(InputError, match="got int as number 1"):
        check_phrases([3])  # type: ignore[list-item]  # wrong on purpose


@pytest.mark.parametrize("phrases", [5, None, 2.5])
def test_what_holds_no_phrases_is_refused(phrases: object) -> None:
    with pytest.raises(InputError, match="expected a list of phrases, got"):
        check_phrases(phrases)  # type: ignore[arg-type]


def test_an_empty_negative_is_called_one() -> None:
    with pytest.raises(InputError, match=r"in every negative phrase, .* write what to keep out"):
        check_negatives([""])


def test_half_a_character_is_refused_wherever_texts_are_read() -> None:
    """As Python reads bytes of a command line that are no UTF-8."""
    for check in (check_phrases, check_negatives, check_texts):
        with pytest.raises(InputError, match=r"expected whole characters in every .* as number 2"):
            check(["cat", "\udcff car"])


def test_texts_may_come_from_an_iterator() -> None:
    assert check_texts(iter(["cat", ""])) == ("cat", "")  # type: ignore[arg-type]


def test_77_tokens_are_the_most() -> None:
    check_token_count("a cat", 77)
    with pytest.raises(InputError, match=r"at most 77 tokens, got 78 in 'a cat': shorten it"):
        check_token_count("a cat", 78)


def test_a_long_phrase_is_shortened_in_the_message() -> None:
    with pytest.raises(InputError, match=r"got 99 in 'x{57}\.\.\.'"):
        check_token_count("x" * 500, 99)


def test_a_template_takes_a_phrase_with_braces_as_it_is() -> None:
    assert fill_template("a photo of a {}.", ["cat", "{0} set"]) == [
        "a photo of a cat.",
        "a photo of a {0} set.",
    ]


def test_commas_that_were_to_part_phrases_are_pointed_out() -> None:
    assert "one phrase per line" in hint_on_lines(["car, sky"], [False])


@pytest.mark.parametrize(
    ("phrases", "present"),
    [
        (["car, sky"], [True]),
        (["car"], [False]),
        (["car,"], [False]),
        (["car, red", "sky"], [False, False]),
        ([], []),
    ],
)
def test_nobody_else_is_told_about_lines(phrases: list[str], present: list[bool]) -> None:
    """Whose phrase was found, and whoever has written several lines."""
    assert hint_on_lines(phrases, present) == ""
