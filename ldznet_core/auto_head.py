"""The head that is meant where none is named: the best that fits a model's family."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from .checkpoint import BUILT_IN, read_config
from .errors import CheckpointError
from .training_free import TRAINING_FREE

AUTO_HEAD = "auto"
"""Stands for the head that `fitting_head` finds."""


def fitting_head(
    family: str,
    trained: Iterable[str] = tuple(BUILT_IN),
    locate: Callable[[str], str | os.PathLike[str]] = str,
) -> str:
    """The first trained head that was made for a family of models; without one, "training-free".

    Args:
        family: "sd1", "miniature", ...
        trained: Names of heads, the best first; without any, the built-in ones.
        locate: Tells of each name what `load_head` takes; may raise CheckpointError.
    """
    return next((name for name in trained if family_of_head(name, locate) == family), TRAINING_FREE)


def family_of_head(name: str, locate: Callable[[str], str | os.PathLike[str]] = str) -> str:
    """The family of a head; of a file that is damaged or holds none, the empty string."""
    try:
        return read_config(locate(name)).family
    except CheckpointError:
        return ""
