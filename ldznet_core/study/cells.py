"""The cells of a study: what each is, what came out of it, and in which order they are worked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..whole_files import write_text


@dataclass(frozen=True, slots=True)
class Cell:
    """One head to be trained and measured."""

    design: str
    """Its name."""
    scenes: int
    """With masks, that it learns from."""
    seed: int
    """Of its fresh weights and of what it is shown."""

    @property
    def name(self) -> str:
        """That of its files."""
        return f"{self.design}-{self.scenes}-{self.seed}"


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """What a head reaches on a split; shares, IoUs and precisions in [0, 1]."""

    things_miou: float
    """At the mask threshold that the choosing split gave, by CLIPSeg's formula."""
    best_miou: float
    """Of things and stuff, at the one of CLIPSeg's 49 thresholds that suits this very split."""
    best_iou_fg: float
    """Likewise, of all pixels together."""
    ap: float
    """CLIPSeg's average precision; 0 where no threshold takes any pixel."""
    present_found: float
    """Share of the phrases whose score reaches the presence threshold."""
    absent_rejected: float
    """Share of the phrases that name nothing whose score does not."""


@dataclass(frozen=True, slots=True)
class CellFigures:
    """What came out of a cell."""

    cell: Cell
    parameters: int
    mask_threshold: float
    presence_threshold: float
    splits: Mapping[str, SplitFigures]
    train_seconds: float
    """Of the wall, with what was cached on the way."""
    measure_seconds: float

    def write(self, path: Path) -> None:
        """Write the figures as JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, path: Path) -> CellFigures:
        """The figures of a file that `write` wrote."""
        return cls.from_json(json.loads(path.read_text("utf-8")))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CellFigures:
        """The figures as JSON keeps them."""
        splits = {name: SplitFigures(**each) for name, each in stored["splits"].items()}
        return cls(**{**stored, "cell": Cell(**stored["cell"]), "splits": splits})


def in_order(designs: Sequence[str], scenes: Sequence[int], seeds: int) -> list[Cell]:
    """All cells, those first with which a table says most.

    One seed of every design at the middle number of scenes comes first, then the other seeds, then
    the other numbers of scenes likewise.

    >>> [cell.name for cell in in_order(["a", "b"], [5, 20], 1)]
    ['a-20-0', 'b-20-0', 'a-5-0', 'b-5-0']
    """
    middle = sorted(scenes)[len(scenes) // 2]
    others = [count for count in sorted(scenes) if count != middle]
    first = [Cell(design, middle, seed) for seed in range(seeds) for design in designs]
    rest = [
        Cell(design, count, seed) for seed in range(seeds) for count in others for design in designs
    ]
    return first + rest
