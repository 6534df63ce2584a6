"""What can be seen of a scene, by what phrases name: kind, noun, colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layout import Layout
from .objects import thing_named
from .scenes import Region, regions_of

_LEAST_SHARE = 0.003


@dataclass(frozen=True, slots=True)
class View:
    """A layout with what can be seen of it."""

    layout: Layout
    regions: tuple[Region, ...]
    visible: frozenset[int]

    def seen(self, **wanted: str | None) -> tuple[int, ...]:
        """The visible regions whose attributes are these."""
        return tuple(
            index
            for index in sorted(self.visible)
            if all(getattr(self.regions[index], key) == value for key, value in wanted.items())
        )

    def things(self) -> tuple[int, ...]:
        """The visible things."""
        return self.seen(kind="thing")

    def groups(self, index: int) -> tuple[str, ...]:
        """The groups to which the thing at this region belongs."""
        return thing_named(self.regions[index].name).groups

    def centre_x(self, index: int) -> float:
        """How far to the right the thing at this region stands, in [0, 1]."""
        thing = self.regions[index].thing
        assert thing is not None, "only things have a centre"  # noqa: S101 (cannot happen)
        return self.layout.things[thing].centre_x


def look(layout: Layout, labels: NDArray[np.uint8]) -> View:
    """What the label map ``(S, S)`` shows of the layout; slivers do not count."""
    regions = regions_of(layout)
    areas = np.bincount(labels.ravel(), minlength=len(regions))
    least = _LEAST_SHARE * labels.size
    return View(layout, regions, frozenset(np.flatnonzero(areas >= least).tolist()))
