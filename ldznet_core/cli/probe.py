"""``ldznet probe``: which blocks know what is where, and at which timesteps."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..capture import is_in_window
from ..errors import InputError
from ..evaluation.layers.heat_map import draw_heat_map
from ..evaluation.layers.probe import FOLDS, TIMESTEPS, Cell, count_rows, probe_miniature
from ..evaluation.layers.scenes import load_scenes
from ..evaluation.layers.table import TITLES, best_cells, table
from ..whole_files import check_writable, write_picture, write_text
from ..world import draw_layout
from .models import load_painter
from .options import option

_FITTED = "train"


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    world: str = option("small", "the world's name")
    scenes: int = option(300, f"scenes of the split {_FITTED} that probes are fitted to")
    split: str = option("iid", "the split that they are judged on")
    held_out: int = option(200, "scenes of that split")
    timestep: tuple[int, ...] = option(TIMESTEPS, "from 0 to 999; may be repeated")
    noises: int = option(3, "of each scene, the same at every timestep")
    seed: int = option(0, "of the noises and of the untrained UNet")
    model: str = option("miniature", '"miniature" or a folder of such weights')
    out: Path | None = option(None, "file for the figures as JSON")
    picture: Path | None = option(None, "file for the heat map, a PNG")


def run(options: Options) -> dict[str, Any]:
    """Probe the model's layers and the controls, and write the figures where asked."""
    _check(options)
    check_writable(options.out, options.picture)
    miniature = load_painter(options.model)
    timesteps = sorted(set(options.timestep))
    fitting, judging = (
        load_scenes(
            miniature,
            options.world,
            split,
            tqdm(range(count), desc=f"scenes of {split}", unit="scene", leave=False),
            options.noises,
            options.seed,
        )
        for split, count in ((_FITTED, options.scenes), (options.split, options.held_out))
    )
    rows = count_rows(options.scenes + options.held_out, options.noises, len(timesteps))
    with tqdm(total=rows, desc="layers", unit="row", leave=False) as bar:
        cells = probe_miniature(miniature, fitting, judging, timesteps, options.seed, bar.update)
    report = {
        "asked": _asked(options, timesteps),
        "best": _best(cells),
        "cells": [asdict(each) for each in cells],
    }
    if options.out:
        write_text(options.out, json.dumps(report, indent=2))
    if options.picture:
        write_picture(options.picture, draw_heat_map(cells))
    return report


def describe(report: dict[str, Any]) -> str:
    """A table for each measure as Markdown, and the best blocks."""
    cells = [Cell(**each) for each in report["cells"]]
    parts = []
    for measure, title in TITLES.items():
        lines = [f"{title}:", "", table(cells, measure), ""]
        for when, blocks in report["best"][measure].items():
            lines.append(f"Best five blocks {when}: {', '.join(map(str, blocks))}.")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _check(options: Options) -> None:
    if options.scenes < FOLDS or options.held_out < 1 or options.noises < 1:
        raise InputError(
            f"expected at least {FOLDS} scenes to fit to, one held out and one noise, got "
            f"{options.scenes}, {options.held_out}, {options.noises}: raise --scenes, --held-out "
            "or --noises"
        )
    if options.split == _FITTED:
        raise InputError(
            f"expected a split that nothing is fitted to, got {_FITTED}: choose another for --split"
        )
    wrong = [timestep for timestep in options.timestep if not 0 <= timestep <= 999]
    if wrong:
        raise InputError(
            f"expected timesteps from 0 to 999, got {', '.join(map(str, wrong))}: change --timestep"
        )
    draw_layout(options.world, options.split, 0)  # refuses an unknown one before all work


def _asked(options: Options, timesteps: list[int]) -> dict[str, Any]:
    """Everything that decides what is found."""
    names = ("world", "scenes", "split", "held_out", "noises", "seed", "model")
    return {name: getattr(options, name) for name in names} | {"timesteps": timesteps}


def _best(cells: list[Cell]) -> dict[str, dict[str, list[int | None]]]:
    """By measure: the five best blocks of all timesteps, and of the paper's."""
    timesteps = [each.timestep for each in cells if each.timestep and is_in_window(each.timestep)]
    found: dict[str, dict[str, list[int | None]]] = {}
    for measure in TITLES:
        best = {"at any timestep": best_cells(cells, measure)}
        if timesteps:
            best["at t = 300 to 500"] = best_cells(cells, measure, timesteps)
        found[measure] = {when: [cell.block for cell in some] for when, some in best.items()}
    return found
