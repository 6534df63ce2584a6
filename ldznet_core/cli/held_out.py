"""Held-out scenes as commands name them, with a progress bar."""

from __future__ import annotations

from collections.abc import Iterable

from tqdm import tqdm

from ..evaluation.cases import Case, cases


def shown(world: str, split: str, count: int, side: int, name: str) -> Iterable[Case]:
    """The first cases of a split, with a progress bar of this name.

    Args:
        world: The world's name.
        split: The split's name, of scenes.
        count: How many.
        side: Of the pictures, in pixels.
        name: Of the bar.
    """
    asked = cases(world, split, count, side)
    return tqdm(asked, desc=name, unit="scene", total=count, leave=False)  # type: ignore[no-any-return]
