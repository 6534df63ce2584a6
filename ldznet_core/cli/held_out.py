"""Held-out scenes as commands name them, with a progress bar."""

from __future__ import annotations

from collections.abc import Iterable

from tqdm import tqdm

from ..evaluation.cases import Case, cases
from ..evaluation.painted import PAINTED, scenes_of
from ..miniature import Miniature


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


def shown_or_painted(
    miniature: Miniature, world: str, split: str, count: int, name: str
) -> tuple[Iterable[Case], Miniature | None]:
    """The first cases of a split, and of "gen" what is to paint them anew.

    Args:
        miniature: What paints.
        world: The world's name.
        split: The split's name, of scenes or "gen".
        count: How many.
        name: Of the progress bar.
    """
    asked = shown(world, scenes_of(split), count, miniature.image_side, name)
    return asked, miniature if split == PAINTED else None
