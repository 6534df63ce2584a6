"""What a mask is asked for: reading phrases, refusing bad ones, putting them into a template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .errors import InputError

TOKEN_LIMIT = 77
"""Positions of CLIP's text encoder, the start and the end token included."""

_ARTICLE = re.compile(r"(?:an?|the)\s+(?=\S)", re.IGNORECASE)


def parse_phrases(text: str) -> list[str]:
    r"""The phrases of a text field, one a line; blank lines are skipped.

    >>> parse_phrases("red car\n\n  the sky ")
    ['red car', 'the sky']
    """
    return [line.strip() for line in text.splitlines() if line.strip()]


def hint_on_lines(phrases: Sequence[str], present: Sequence[bool]) -> str:
    """What to try where several things may have been meant by the one phrase; else "".

    Args:
        phrases: What was asked for.
        present: Whether each is in the picture.

    >>> hint_on_lines(["car, sky"], [False])
    'commas do not separate phrases: write one phrase per line'
    >>> hint_on_lines(["car, sky"], [True])
    ''
    """
    is_doubtful = len(phrases) == 1 and "," in phrases[0].strip(" ,") and not any(present)
    return "commas do not separate phrases: write one phrase per line" if is_doubtful else ""


def check_phrases(phrases: Sequence[str]) -> tuple[str, ...]:
    """The phrases without the blanks around them.

    Args:
        phrases: In words, one each.

    Raises:
        InputError: There is none, one is empty, or they are no sequence of strings.
    """
    checked = _checked(phrases, "phrase", "find")
    if not checked:
        raise InputError("expected at least one phrase, got none: name what the mask should cover")
    return checked


def check_negatives(negatives: Sequence[str]) -> tuple[str, ...]:
    """The same of negative phrases, of which there may be none.

    Raises:
        InputError: One is empty, or they are no sequence of strings.
    """
    return _checked(negatives, "negative phrase", "keep out")


def check_texts(texts: Sequence[str]) -> Sequence[str]:
    """Refuse what is no list of texts; texts may be empty, for what is made under no text.

    Raises:
        InputError: There is none, they are no sequence of strings, or one has half a character.
    """
    given: object = texts  # a caller without types may give one
    several = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
    if not several or not all(isinstance(text, str) for text in several):
        shown = repr(texts)[:80]
        raise InputError(
            f"expected a list of one text or more, got {shown}: write one as ['a red car']"
        )
    for number, text in enumerate(several, start=1):
        _check_characters(text, "text", number)
    return several


def check_token_count(phrase: str, tokens: int) -> None:
    """Refuse a phrase that the text encoder would cut short; every backbone's tokenizer asks here.

    Args:
        phrase: The text that was tokenized, for the message.
        tokens: Its length in tokens, the start and the end token included.

    Raises:
        InputError: There are more than 77.
    """
    if tokens > TOKEN_LIMIT:
        shown = phrase if len(phrase) <= 60 else f"{phrase[:57]}..."
        raise InputError(
            f"expected a phrase of at most {TOKEN_LIMIT} tokens, got {tokens} in {shown!r}: "
            "shorten it"
        )


def fill_template(template: str, phrases: Sequence[str]) -> list[str]:
    """Each phrase in the place of the template's ``{}``; braces in a phrase stay as they are.

    >>> fill_template("a photo of a {}.", ["cat"])
    ['a photo of a cat.']
    """
    return [template.replace("{}", phrase) for phrase in phrases]


def without_article(phrase: str) -> str:
    """A phrase without the English article in front of it, if it has one and says more.

    >>> without_article("The red car"), without_article("another car"), without_article("a")
    ('red car', 'another car', 'a')
    """
    article = _ARTICLE.match(phrase)
    return phrase[article.end() :] if article else phrase


def _checked(phrases: Sequence[str], what: str, purpose: str) -> tuple[str, ...]:
    if isinstance(phrases, str):
        raise InputError(
            f"expected a list of {what}s, got the string {phrases!r}: write [{phrases!r}]"
        )
    if not isinstance(phrases, Iterable):
        raise InputError(
            f"expected a list of {what}s, got {phrases!r}: name in words what to {purpose}, one "
            "each"
        )
    return tuple(
        _check_phrase(phrase, what, purpose, number)
        for number, phrase in enumerate(phrases, start=1)
    )


def _check_phrase(phrase: object, what: str, purpose: str, number: int) -> str:
    if not isinstance(phrase, str):
        raise InputError(
            f"expected {what}s as strings, got {type(phrase).__name__} as number {number}: "
            "pass its name in words"
        )
    if not phrase.strip():
        raise InputError(
            f"expected words in every {what}, got an empty one as number {number}: "
            f"write what to {purpose}, or leave it out"
        )
    _check_characters(phrase, what, number)
    return phrase.strip()


def _check_characters(text: str, what: str, number: int) -> None:
    try:
        text.encode()  # JSON and shells can hold half a character, which no tokenizer reads
    except UnicodeEncodeError as error:
        raise InputError(
            f"expected whole characters in every {what}, got {text[:60]!r} as number {number}: "
            "write it anew"
        ) from error
