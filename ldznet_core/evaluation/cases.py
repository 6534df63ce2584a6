"""What an evaluation asks: held-out scenes, phrases, and the masks that answer them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..world import Draw, Phrase, Scene, all_phrases, draw_layout, draw_phrases, mask_of, render

_ABSENT_PHRASES = 2


@dataclass(frozen=True, slots=True)
class Case:
    """A scene and what is asked of it.

    Attributes:
        scene: the scene.
        phrases: those that name what is there, then those that name what is not.
    """

    scene: Scene
    phrases: tuple[Phrase, ...]

    def mask(self, phrase: Phrase) -> NDArray[np.bool_]:
        """Where the phrase's thing is, ``(H, W)``."""
        return mask_of(self.scene.labels, phrase.regions)

    def is_stuff(self, phrase: Phrase) -> bool:
        """Whether the phrase names stuff, such as the sky."""
        return any(self.scene.regions[region].kind == "stuff" for region in phrase.regions)


def cases(world: str, split: str, count: int, side: int) -> Iterator[Case]:
    """The first scenes of a split with every visible thing, every stuff, and two absent phrases."""
    for index in range(count):
        scene = render(draw_layout(world, split, index), side)
        present = all_phrases(scene.layout, scene.labels)
        draw = Draw("evaluation", world, split, index)
        absent = draw_phrases(scene.layout, scene.labels, draw, _ABSENT_PHRASES, absent=1.0)
        yield Case(scene, (*present, *absent))
