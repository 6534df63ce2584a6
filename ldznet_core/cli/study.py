"""``ldznet study``: heads of several designs, trained and judged alike, as a table."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import InputError
from ..miniature.parts import WEIGHTS
from ..whole_files import write_picture, write_text
from ..world import WORLDS, scenes_with_masks
from .extras import lacks_train
from .options import option

if TYPE_CHECKING:
    from ..study.cells import Cell
    from ..study.report import StudyReport
    from ..study.settings import Settings

_DECISIVE = (
    *("seeds", "scenes", "pool", "world", "side"),
    *("steps", "batch", "learning_rate", "held_out"),
)
"""The flags that decide what is found."""


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    table: Literal["designs", "blocks"] = option(
        "designs", "heads by what they read and how, or compact heads by the blocks that they read"
    )
    seeds: int = option(3, "trainings of each head and number of scenes")
    scenes: str = option("500,2000,20000", "numbers of scenes with masks, with commas between")
    pool: int = option(
        20000, "scenes to choose them from, rendered once, as of `ldznet train --scenes`"
    )
    steps: int = option(
        400,
        "optimiser steps of a training; `compact`, which starts from nothing, takes twice as many",
    )
    batch: int = option(16, "pairs of a scene and a phrase in a step")
    learning_rate: float = option(
        4e-4, "peak of the cosine schedule; of `compact` 2.5 times as much"
    )
    held_out: int = option(60, "scenes of each split that are measured")
    world: str = option("small", "the world's name")
    side: int = option(128, "side of the scenes in pixels, a multiple of 64")
    folder: Path = option(
        Path("runs/study"), "folder of caches, states and figures; both tables may share it"
    )
    budget_minutes: float = option(
        0.0, "wall-clock minutes of this run, which goes on from earlier ones; 0 only reports"
    )
    known: Path | None = option(
        None,
        "figures (JSON) of an earlier page: what is finished there is not done again",
    )
    only: tuple[str, ...] = option((), "a design to work on alone; may be repeated")
    keep: bool = option(False, "keep states, logs and weights of finished trainings")
    out: Path | None = option(
        None, "file for the page as Markdown; figures (JSON) and chart (PNG) go beside it"
    )


def run(options: Options) -> StudyReport:
    """Work on the study's cells as long as the minutes last, and report those that are finished."""
    try:
        from ..study.cells import in_order
        from ..study.designs import TABLES
        from ..study.report import make_report, read_figures
        from ..study.settings import Settings
        from ..study.work import finished, take_over
        from ..training.cache import unet_name
    except ImportError as error:
        raise lacks_train("a study", error) from error
    _check(options)
    sizes = _sizes(options)
    settings = Settings(
        world=options.world,
        side=options.side,
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        held_out=options.held_out,
        weights=unet_name(WEIGHTS),
    )
    cells = in_order(TABLES[options.table], sizes, options.seeds)
    if options.known is not None:
        known = read_figures(options.known, settings)
        settings.keep_in(options.folder)
        take_over(options.folder, known)
    if options.budget_minutes <= 0:
        settings.check_against(options.folder)
    else:
        settings.keep_in(options.folder)
        asked = [cell for cell in cells if not options.only or cell.design in options.only]
        _work(options, settings, asked)
    done = finished(options.folder, cells)
    report = make_report(options.table, settings, sizes, options.seeds, _command(options), done)
    if options.out:
        _write(report, options.out)
    return report


def describe(report: StudyReport) -> str:
    """The page."""
    from ..study.report import as_markdown

    return as_markdown(report)


def _work(options: Options, settings: Settings, cells: list[Cell]) -> None:
    from accelerate import PartialState

    from ..miniature import load_miniature
    from ..study.material import Material
    from ..study.work import work
    from ..training.loop import lacks_accelerator

    miniature = load_miniature(PartialState(cpu=lacks_accelerator()).device)
    work(
        options.folder,
        cells,
        Material(options.folder / "cache", settings, options.pool, miniature),
        options.budget_minutes,
        keeps=options.keep,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )


def _command(options: Options) -> str:
    """What makes the whole table, on any machine."""
    words = ["python -m ldznet_core study", f"--table {options.table}"]
    words += [f"--{name.replace('_', '-')} {getattr(options, name)}" for name in _DECISIVE]
    return " ".join([*words, "--budget-minutes 600"])


def _check(options: Options) -> None:
    from ..study.designs import TABLES

    least = min(options.seeds, options.steps, options.batch, options.held_out)
    if least < 1 or options.side < 64 or options.side % 64:
        raise InputError(
            "expected seeds, steps, batch and held-out scenes of at least 1 and a side in "
            f"multiples of 64, got {options.seeds}, {options.steps}, {options.batch}, "
            f"{options.held_out} and {options.side}: correct them"
        )
    unknown = sorted(set(options.only) - set(TABLES[options.table]))
    if unknown:
        raise InputError(
            f"expected designs of {', '.join(TABLES[options.table])}, got {', '.join(unknown)}: "
            "change --only or --table"
        )
    if options.world not in WORLDS:
        raise InputError(
            f"expected a world of {', '.join(WORLDS)}, got {options.world!r}: choose one"
        )


def _sizes(options: Options) -> list[int]:
    """The numbers of scenes, the smallest first."""
    parts = [part.strip() for part in options.scenes.split(",")]
    if not all(part.isdigit() and int(part) for part in parts):
        raise InputError(
            f'expected numbers of scenes such as "500,2000", got {options.scenes!r}: change '
            "--scenes"
        )
    sizes = sorted({int(part) for part in parts})
    there = len(scenes_with_masks(options.world, "train", options.pool))
    if sizes[-1] > there:
        raise InputError(
            f"expected at most {there} scenes, so many of --pool {options.pool} have masks, got "
            f"{sizes[-1]}: raise --pool or lower --scenes"
        )
    return sizes


def _write(report: StudyReport, page: Path) -> None:
    """The page, and beside it its figures and its chart."""
    from ..study.chart import draw_chart
    from ..study.designs import TABLES
    from ..study.report import as_markdown, cells_of

    picture = page.with_suffix(".png")
    done = cells_of(report)
    if done:
        write_picture(picture, draw_chart(done, TABLES[report["table"]], report["sizes"]))
    text = as_markdown(report, picture.name if done else None)
    write_text(page, text)
    write_text(page.with_suffix(".json"), json.dumps(report, indent=2))
