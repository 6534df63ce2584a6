"""What users of the page and of the API are told: sentences beside pictures and in infotexts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ldznet_core import LDZNetError

ERROR_KEY = "LD-ZNet error"
"""In an infotext, what kept masks from being made."""

_LOG = logging.getLogger(__name__)


def sentence_of(error: Exception) -> str:
    """An error as users read it; faults of ours are logged whole."""
    if isinstance(error, LDZNetError):
        _LOG.warning("LD-ZNet: %s", error)
        return str(error)
    _LOG.error("LD-ZNet failed", exc_info=error)
    first_line = next(iter(str(error).splitlines()), "")
    return f"it failed ({type(error).__name__}: {first_line}); see the log"


def complain(p: Any, problem: str) -> None:
    """Say what is wrong before anything is made."""
    p.extra_generation_params[ERROR_KEY] = problem
    p.comment(_comment(problem))


def complain_of(p: Any, processed: Any, problems: Mapping[str, Sequence[int]], count: int) -> None:
    """Say what is wrong after all is made.

    Args:
        p: Of the host.
        processed: Its results.
        problems: The numbers, from 1, of the pictures that each befell.
        count: How many pictures there are.
    """
    if not problems:
        return
    sentences = [_of_pictures(numbers, count) + each for each, numbers in problems.items()]
    p.extra_generation_params[ERROR_KEY] = "; ".join(sentences)
    for sentence in sentences:
        say(processed, sentence)


def say(processed: Any, sentence: str) -> None:
    """Put a sentence under the pictures once; the host has collected its own already."""
    line = f"{_comment(sentence)}\n"
    if line not in processed.comments:
        processed.comments += line


def forget(p: Any) -> None:
    """Unsay what was wrong with the last picture of an object that is processed again."""
    problem = p.extra_generation_params.pop(ERROR_KEY, None)
    if problem is not None:
        p.comments.pop(_comment(problem), None)


def _comment(sentence: str) -> str:
    return f"LD-ZNet: {sentence}"


def _of_pictures(numbers: Sequence[int], count: int) -> str:
    """Which pictures a sentence is about; nothing where it is about all."""
    if len(numbers) == count:
        return ""
    return f"{'picture' if len(numbers) == 1 else 'pictures'} {', '.join(map(str, numbers))}: "
