"""Sizes of networks as files tell them, which may say anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import CheckpointError, LDZNetError


@contextmanager
def sizes_read(expected: str, remedy: str) -> Iterator[None]:
    """Turns the failure of sizes that no network can have into a sentence.

    Args:
        expected: Its beginning: what was expected where, and what came.
        remedy: Its end: what to do.

    Raises:
        CheckpointError: The block raised what libraries raise on such sizes.
    """
    try:
        yield
    except LDZNetError:
        raise
    except Exception as error:  # libraries have errors of their own for this
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{expected} ({reason:.200}): {remedy}") from error


def whole(value: object, largest: int, name: str = "a size") -> int:
    """A size.

    Args:
        value: As the file has it.
        largest: Beyond which a file is taken for damaged.
        name: Of the size, for the message.

    Raises:
        ValueError: It is no whole number from 1 to the largest.
    """
    if type(value) is not int or not 0 < value <= largest:
        raise ValueError(f"{str(value)[:40]!r} as {name}, where 1 to {largest} are known")
    return value
