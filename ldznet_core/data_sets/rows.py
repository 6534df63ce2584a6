"""Rows of a data set: a picture, a phrase, and the mask that answers it, drawn when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import InputError
from ..phrases import TOKEN_LIMIT, check_phrases, check_token_count
from .shapes import Mask


class Truth(Protocol):
    """What a data set stores of a mask."""

    def mask(self, size: tuple[int, int]) -> Mask:
        """The mask of a picture of this (height, width)."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A phrase that is asked of a picture."""

    picture: Path
    phrase: str
    truth: Truth
    is_absent: bool = False
    """Whether the picture is known not to show what the phrase names."""
    size: tuple[int, int] | None = None
    """(height, width) of the picture for which the mask was drawn; None: the data set is silent."""


def by_picture(rows: Iterable[Row]) -> list[Row]:
    """The rows with those of a picture together, pictures in the order of their first row."""
    found: dict[Path, list[Row]] = {}
    for row in rows:
        found.setdefault(row.picture, []).append(row)
    return [row for group in found.values() for row in group]


def check_rows(rows: Sequence[Row]) -> None:
    """Refuse rows whose pictures are not all there or whose phrases cannot be asked, before work.

    Raises:
        InputError: There are no rows, a picture is missing, or a phrase is empty or too long.
    """
    if not rows:
        raise InputError("expected at least one phrase with a mask, got none: name another split")
    pictures = list(dict.fromkeys(row.picture for row in rows))
    missing = [picture for picture in pictures if not picture.is_file()]
    if missing:
        raise InputError(
            f"expected {len(pictures)} pictures, got {len(pictures) - len(missing)}: put "
            f"{missing[0]} and what else is missing there"
        )
    for row in rows:
        try:
            check_phrases([row.phrase])
            if len(row.phrase.encode()) + 2 > TOKEN_LIMIT:  # a token has a byte or more
                from ..tokenizer import count_tokens  # takes a second

                check_token_count(row.phrase, count_tokens([row.phrase])[0])
        except InputError as error:
            raise InputError(f"{error} (of {row.picture})") from error
