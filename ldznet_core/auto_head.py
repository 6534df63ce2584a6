"""The head that is meant where none is named: the best that fits a model's family."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .checkpoint import BUILT_IN, read_config
from .training_free import TRAINING_FREE

AUTO_HEAD = "auto"
"""Stands for the head that `fitting_head` finds."""


def fitting_head(
    family: str,
    trained: Iterable[str] = tuple(BUILT_IN),
    family_of: Callable[[str], str] = lambda name: read_config(name).family,
) -> str:
    """The first trained head that was made for a family of models; without one, "training-free".

    Args:
        family: "sd1", "miniature", ...
        trained: Names of heads, the best first; without any, the built-in ones.
        family_of: Tells the family of each.
    """
    return next((name for name in trained if family_of(name) == family), TRAINING_FREE)
