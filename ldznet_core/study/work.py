"""Work on a study: cell after cell, as long as the time lasts."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate.utils import set_seed

from ..training import Plan, train
from ..training.saved_state import find_state
from ..weights import read_weights
from .cells import Cell, CellFigures
from .designs import DESIGNS, make_head
from .held_out import splits_of
from .material import Material
from .measure import measure
from .settings import Settings
from .stage import CellStage

_AVERAGE = 0.99  # of the weights: about the last hundred steps
_SAVED_EACH = 5.0  # minutes


def finished(folder: Path, cells: Sequence[Cell]) -> list[CellFigures]:
    """The figures of those cells that are finished."""
    paths = [_figures_path(folder, cell) for cell in cells]
    return [CellFigures.read(path) for path in paths if path.exists()]


def take_over(folder: Path, known: Sequence[CellFigures]) -> None:
    """Count cells as finished that were so elsewhere; those of this study stay as they are."""
    for figures in known:
        path = _figures_path(folder, figures.cell)
        if not path.exists():
            figures.write(path)


def work(
    folder: Path,
    cells: Sequence[Cell],
    material: Material,
    budget_minutes: float,
    *,
    keeps: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> None:
    """Finish cells in their order until the minutes are used up; later calls go on from there.

    A cell that is half trained then keeps its state. Measuring a cell that is trained may take
    longer than the budget.

    Args:
        folder: Of the study.
        cells: To be finished; those that are already cost nothing.
        material: What they learn from and are measured on.
        budget_minutes: Of the wall.
        keeps: Whether to keep states, logs, sheets and weights of finished cells.
        tell: Told in a line how it stands, after every cell.
    """
    deadline = time.monotonic() + 60 * budget_minutes
    for cell in cells:
        path = _figures_path(folder, cell)
        minutes = (deadline - time.monotonic()) / 60
        if path.exists():
            continue
        if minutes <= 0:
            break
        figures = _finish(folder / "cells", cell, material, minutes)
        if figures is None:
            tell(f"{cell.name}: the minutes are used up; its state is kept")
            break
        figures.write(path)
        if not keeps:
            _forget(folder / "cells", cell)
        tell(f"{_said(figures, material.settings)}; {_standing(folder, cells)}")


def _finish(
    folder: Path, cell: Cell, material: Material, budget_minutes: float
) -> CellFigures | None:
    """Train a cell's head and measure it; None where the minutes ended before the steps."""
    settings, design = material.settings, DESIGNS[cell.design]
    set_seed(cell.seed)
    head = make_head(design, material.miniature, settings.side)
    steps = settings.steps * design.pace.steps
    plan = Plan(
        steps=steps,
        batch=settings.batch,
        learning_rate=settings.learning_rate * design.pace.learning_rate,
        warmup=steps // 10,
        average=_AVERAGE,
        budget_minutes=budget_minutes,
        seed=cell.seed,
        sample_minutes=_SAVED_EACH,
    )
    stage = CellStage(cell, design, head, material)
    is_begun = find_state(folder / cell.name) is not None
    if train(stage, plan, folder, resume=is_begun) < steps:
        return None
    began = time.monotonic()
    head.load_state_dict(read_weights(folder / "weights" / cell.name)[0])
    splits = splits_of(settings.world)
    measured = measure(head, design, material.miniature, material.held_out, splits)
    return CellFigures(
        cell=cell,
        parameters=sum(each.numel() for each in head.parameters()),
        mask_threshold=measured.mask_threshold,
        presence_threshold=measured.presence_threshold,
        splits=measured.splits,
        train_seconds=_seconds_of(folder / cell.name / "log.jsonl"),
        measure_seconds=round(time.monotonic() - began, 1),
    )


def _seconds_of(log: Path) -> float:
    """What a training took over all of its runs."""
    return float(json.loads(log.read_text("utf-8").splitlines()[-1])["seconds"])


def _forget(folder: Path, cell: Cell) -> None:
    shutil.rmtree(folder / cell.name, ignore_errors=True)
    for file in (folder / "weights").glob(f"{cell.name}.*"):
        file.unlink()


def _said(figures: CellFigures, settings: Settings) -> str:
    steps = settings.steps * DESIGNS[figures.cell.design].pace.steps
    rate = steps * settings.batch / max(figures.train_seconds, 1e-9)
    mious = ", ".join(f"{name} {each.things_miou:.3f}" for name, each in figures.splits.items())
    return (
        f"{figures.cell.name}: things' mIoU {mious}; {figures.train_seconds / 60:.1f} min at "
        f"{rate:.1f} samples/s, measured in {figures.measure_seconds / 60:.1f} min"
    )


def _standing(folder: Path, cells: Sequence[Cell]) -> str:
    """How many cells are finished, and how long the others will take by what those took."""
    done = finished(folder, cells)
    left = [cell for cell in cells if not _figures_path(folder, cell).exists()]
    minutes = sum(_expected_minutes(cell, done) for cell in left)
    hours, rest = divmod(round(minutes), 60)
    return f"{len(done)} of {len(cells)} cells are finished, about {hours} h {rest} min are left"


def _expected_minutes(cell: Cell, done: Sequence[CellFigures]) -> float:
    """As long as the finished cells of its design took, or those of any."""
    alike = [each for each in done if each.cell.design == cell.design] or done
    return sum(each.train_seconds + each.measure_seconds for each in alike) / len(alike) / 60


def _figures_path(folder: Path, cell: Cell) -> Path:
    return folder / "figures" / f"{cell.name}.json"
