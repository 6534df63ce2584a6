"""What a mask is asked for: reading phrases, refusing bad ones, putting them into a template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import InputError

TOKEN_LIMIT = 77
"""Positions of CLIP's text encoder, the start and the end token included."""


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
    'commas do not part phrases, write one a line'
    >>> hint_on_lines(["car, sky"], [True])
    ''
    """
    is_doubtful = len(phrases) == 1 and "," in phrases[0].strip(" ,") and not any(present)
    return "commas do not part phrases, write one a line" if is_doubtful else ""


def check_phrases(phrases: Sequence[str], *, may_be_none: bool = False) -> tuple[str, ...]:
    """The phrases without the blanks around them.

    Args:
        phrases: In words, one each.
        may_be_none: Whether an empty sequence will do, as for negatives.

    Raises:
        InputError: There is none, one is empty, or they are no sequence of strings.
    """
    if isinstance(phrases, str):
        raise InputError(
            f"expected a list of phrases, got the string {phrases!r}: write [{phrases!r}]"
        )
    if not isinstance(phrases, Iterable):
        raise InputError(
            f"expected a list of phrases, got {phrases!r}: name in words what to find, one each"
        )
    phrases = tuple(phrases)
    if not phrases and not may_be_none:
        raise InputError("expected at least one phrase, got none: name what the mask should cover")
    return tuple(_check_phrase(phrase, number) for number, phrase in enumerate(phrases, start=1))


def check_texts(texts: Sequence[str]) -> Sequence[str]:
    """Refuse what is no list of texts; texts may be empty, for what is made under no text.

    Raises:
        InputError: There is none, or they are no sequence of strings.
    """
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        shown = repr(texts)[:80]
        raise InputError(
            f"expected a list of one text or more, got {shown}: write one as ['a red car']"
        )
    return texts


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


def _check_phrase(phrase: object, number: int) -> str:
    if not isinstance(phrase, str):
        raise InputError(
            f"expected phrases as strings, got {type(phrase).__name__} as number {number}: "
            "pass its name in words"
        )
    if not phrase.strip():
        raise InputError(
            f"expected words in every phrase, got an empty one as number {number}: "
            "write what to find, or leave it out"
        )
    try:
        phrase.encode()  # JSON and shells can hold half a character, which no tokenizer reads
    except UnicodeEncodeError as error:
        raise InputError(
            f"expected whole characters in every phrase, got {phrase[:60]!r} as number {number}: "
            "write it anew"
        ) from error
    return phrase.strip()
