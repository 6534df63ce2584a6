"""A study's report: its tables with what one must know to read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

from ..errors import InputError
from ..evaluation.masks import LEAST_SIDE
from ..evaluation.painted import PAINTED
from .cells import CellFigures
from .designs import DESIGNS, FROM_NOTHING, TABLES, TableName
from .settings import Settings
from .table import costs, tables

_TITLES: dict[TableName, str] = {
    "designs": "What features, latents and the design of a head are worth",
    "blocks": "Heads that read different blocks",
}

_SAME_FOR_ALL = f"""\
- *Seeds*: each figure is a mean over so many, with the highest less the lowest in brackets. A seed
  decides a head's fresh weights, and the order of scenes and phrases; with one seed and number of
  scenes all heads see the same.
- *Start*: RGBNet, ZNet and LD-ZNet start from the weights of the miniature's UNet, which reads text
  already; `compact` starts from nothing and takes {FROM_NOTHING.steps} times the steps, at
  {FROM_NOTHING.learning_rate:g} times the learning rate, which is about as long (see *Cost*). Few
  steps still favour the others.
- *Features* are of the scene's caption (half of the views) or of no text, at t = 300 to 500, and
  never of the phrase, as they are where they are captured; the paper's are of the phrase. What is
  measured on `{PAINTED}` was captured while the miniature painted the scene anew; on the other
  splits it is of a probe at t = 400 without text.
- No head has seen painted pictures in training: `{PAINTED}` is a shift of domain here, as generated
  pictures are in the paper. (The heads that are shipped have seen latents like theirs.)
- *Things* are those of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, with the threshold best on
  `validation`. CLIPSeg's figures are of all things and stuff, each with that of 49 thresholds that
  suits the very split; where a head separates little, that mask may be everything.
- *Absent and present*: a phrase is found if its score reaches the threshold that rejects 93 % of
  the absent phrases of `validation`."""

_OF_TABLE: dict[TableName, str] = {
    "designs": """\
- *Concatenation* adds a block's features to the channels before its spatial transformer, by a 1x1
  convolution that at first leaves them out. *RGBNet* reads the picture by three convolutions in the
  place of the UNet's first.""",
    "blocks": """\
- All are `compact`, which reads every block on its own grid for about the same cost. The paper's
  head makes a token of each position of a block, which look at each other and are all looked at:
  256 of them at the finest blocks, where blocks 6-10 have 16 or 4.
- 3, 4, 11, 12 and 13 are the best five by the probe ([probe.md](probe.md)).""",
}


class StudyReport(TypedDict):
    """What was measured, as JSON keeps it."""

    table: TableName
    settings: dict[str, Any]
    sizes: list[int]
    seeds: int
    command: str
    cells: list[dict[str, Any]]


def make_report(
    table: TableName,
    settings: Settings,
    sizes: Sequence[int],
    seeds: int,
    command: str,
    done: Sequence[CellFigures],
) -> StudyReport:
    """The report of the cells that are finished."""
    return StudyReport(
        table=table,
        settings=asdict(settings),
        sizes=list(sizes),
        seeds=seeds,
        command=command,
        cells=[asdict(each) for each in done],
    )


def cells_of(report: StudyReport) -> list[CellFigures]:
    """The figures that a report holds."""
    return [CellFigures.from_json(each) for each in report["cells"]]


def read_figures(path: Path, settings: Settings) -> list[CellFigures]:
    """The figures of the cells that an earlier page tells.

    Args:
        path: The JSON beside that page.
        settings: Which it must have.

    Raises:
        InputError: There is no such file, or its study had other settings.
    """
    try:
        report: StudyReport = json.loads(path.read_text("utf-8"))
        told, figures = report["settings"], cells_of(report)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected the figures of a study's page in {path}, found none: name the JSON file "
            "that --out wrote beside it"
        ) from error
    if told != asdict(settings):
        raise InputError(
            f"expected figures of a study with the settings {asdict(settings)} in {path}, got "
            f"{told}: give the same flags, or leave it out"
        )
    return figures


def as_markdown(report: StudyReport, picture: str | None = None) -> str:
    """The report as a page.

    Args:
        report: Of one table.
        picture: The name of the chart's file beside the page, if there is one.
    """
    done, designs = cells_of(report), TABLES[report["table"]]
    title = f"# {_TITLES[report['table']]}"
    if not done:
        return f"{title}\n\nNo cell is finished yet: run the command with --budget-minutes."
    asked, paces = report["settings"], {DESIGNS[name].pace for name in designs}
    most = max(pace.steps for pace in paces) * asked["steps"]
    taken = " or ".join(f"{pace.steps * asked['steps']:,}" for pace in sorted(paces))
    wanted = len(designs) * len(report["sizes"]) * report["seeds"]
    opening = (
        f"Each head is trained in {taken} steps of {asked['batch']} pairs of a scene "
        f"and a phrase, on the first scenes of `train` at {asked['side']} pixels, and judged on "
        f"the first {asked['held_out']} scenes of each split, with every thing and stuff in them "
        f"and two absent phrases each. A head sees no more scenes than pairs, "
        f"at most {most * asked['batch']:,}. {len(done)} of {wanted} trainings are finished."
    )
    if len(done) < wanted:
        opening += " With `--known` and the JSON beside this page a run goes on from there."
    parts = [
        title,
        opening,
        f"```sh\n{report['command']}\n```",
        f"{_SAME_FOR_ALL}\n{_OF_TABLE[report['table']]}",
        *([f"![Things' mIoU]({picture})"] if picture else []),
        tables(done, designs, report["sizes"]),
        f"## Cost\n\nMedians over the cells, of the wall.\n\n{costs(done, designs)}",
    ]
    return "\n\n".join(parts)
