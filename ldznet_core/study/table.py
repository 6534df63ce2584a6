"""The figures of a study's cells as Markdown: means over seeds with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..evaluation.tables import markdown
from .cells import CellFigures, SplitFigures
from .designs import DESIGNS

MEASURES: dict[str, str] = {
    "things_miou": "Things: mIoU with the threshold that `validation` chose",
    "best_miou": "Things and stuff: mIoU at CLIPSeg's best threshold",
    "best_iou_fg": "Things and stuff: IoU_FG at CLIPSeg's best threshold",
    "ap": "Things and stuff: CLIPSeg's AP",
    "absent_rejected": "Absent phrases that are rejected",
    "present_found": "Present phrases that are found",
}
"""What each of `SplitFigures` is, in the order of the tables."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over some seeds."""

    mean: float
    lowest: float
    highest: float
    seeds: int

    def __str__(self) -> str:
        """The mean, and of several seeds the highest less the lowest in brackets."""
        between = f" ({self.highest - self.lowest:.3f})" if self.seeds > 1 else ""
        return f"{self.mean:.3f}{between}"


def over_seeds(
    done: Sequence[CellFigures], design: str, scenes: int, figure: Callable[[CellFigures], float]
) -> Spread | None:
    """A figure of a design at a number of scenes; None where no cell is finished."""
    values = [
        figure(each) for each in done if (each.cell.design, each.cell.scenes) == (design, scenes)
    ]
    if not values:
        return None
    return Spread(statistics.fmean(values), min(values), max(values), len(values))


def on_split(split: str, measure: str) -> Callable[[CellFigures], float]:
    """Reads one of `SplitFigures` off a cell."""

    def read(figures: CellFigures) -> float:
        of_split: SplitFigures = figures.splits[split]
        return float(getattr(of_split, measure))

    return read


def tables(done: Sequence[CellFigures], designs: Sequence[str], sizes: Sequence[int]) -> str:
    """A table for each measure, with a line for each design and number of scenes.

    Args:
        done: At least one cell, all measured on the same splits.
        designs: The names, in the tables' order.
        sizes: The numbers of scenes, likewise.
    """
    parts, splits = [], list(done[0].splits)
    for measure, title in MEASURES.items():
        lines = [
            [f"{size:,}", DESIGNS[name].title, str(_seeds(done, name, size))]
            + [_shown(done, name, size, split, measure) for split in splits]
            for size in sizes
            for name in designs
            if _seeds(done, name, size)
        ]
        headings = ["scenes", "head", "seeds", *(f"`{split}`" for split in splits)]
        parts.append(f"## {title}\n\n{markdown(headings, lines)}")
    return "\n\n".join(parts)


def costs(done: Sequence[CellFigures], designs: Sequence[str]) -> str:
    """What each design is and took, as Markdown: parameters, and medians over its cells."""
    lines = []
    for name in designs:
        cells = [each for each in done if each.cell.design == name]
        if not cells:
            continue
        trained = statistics.median(each.train_seconds for each in cells) / 60
        measured = statistics.median(each.measure_seconds for each in cells) / 60
        parameters = f"{cells[0].parameters / 1e6:.2f} M"
        lines.append([DESIGNS[name].title, parameters, f"{trained:.1f}", f"{measured:.1f}"])
    return markdown(["head", "parameters", "training, min", "measuring, min"], lines)


def _seeds(done: Sequence[CellFigures], design: str, scenes: int) -> int:
    return sum((each.cell.design, each.cell.scenes) == (design, scenes) for each in done)


def _shown(done: Sequence[CellFigures], design: str, scenes: int, split: str, measure: str) -> str:
    return str(over_seeds(done, design, scenes, on_split(split, measure)))
