"""``ldznet evaluate --data``: a model and a head on a data set's phrases."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from ..backends import load_backbone, needs_whole_unet
from ..checkpoint import load_head
from ..data_sets import FORMATS, Format, Partition, Row, check_rows, read_data
from ..errors import InputError
from ..evaluation.data.measure import measure_data
from ..evaluation.data.report import DataReport, as_markdown, draw_curves
from ..segmenter import Segmenter
from ..training_free import TRAINING_FREE
from ..whole_files import write_picture, write_text
from .models import DType

KEY = "data"
"""What the report is called in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataAsk:
    """What is measured, on what, and where the figures go."""

    folder: Path
    data: Format
    splits: str
    """One or several with commas between them; none is the format's own."""
    partition: Partition | None
    model: str
    head: str
    threshold: float | None
    limit: int
    """Only so many phrases of each split, the first ones; 0 is all."""
    device: str | None
    dtype: DType
    out: Path | None


def run(ask: DataAsk) -> dict[str, DataReport]:
    """Measure, and write the figures as JSON, Markdown and a picture where asked."""
    if ask.limit < 0:
        raise InputError(f"expected a limit of at least 1 phrase, got {ask.limit}: raise --limit")
    names = [name.strip() for name in (ask.splits or FORMATS[ask.data]).split(",")]
    asked = {name: _read(ask, name) for name in names}
    segmenter = _load(ask)
    report = DataReport(data=_name(ask), model=ask.model, head=ask.head, splits={})
    for name, rows in asked.items():
        with tqdm(total=len(rows), desc=name, unit="phrase", leave=False) as bar:
            measured = measure_data(segmenter, rows, ask.threshold, bar.update)
        report["splits"][name] = asdict(measured)
        if ask.out:  # each split when it is done: another may take hours
            write(report, ask.out)
    return {KEY: report}


def describe(report: dict[str, DataReport]) -> str:
    """The figures as tables."""
    return as_markdown(report[KEY])


def write(report: DataReport, out: Path) -> None:
    """Three files of one name: figures as JSON, tables as Markdown, curves as a picture."""
    stem = out.with_suffix("") if out.suffix == ".json" else out
    text = json.dumps({KEY: report}, indent=2, allow_nan=False)
    write_text(stem.with_name(f"{stem.name}.json"), text)
    write_text(stem.with_name(f"{stem.name}.md"), as_markdown(report))
    write_picture(stem.with_name(f"{stem.name}.png"), draw_curves(report))


def _read(ask: DataAsk, split: str) -> list[Row]:
    """A split's rows, all of whose pictures are there."""
    rows = read_data(ask.folder, ask.data, split, ask.partition)
    rows = rows[: ask.limit] if ask.limit else rows
    check_rows(rows)
    return rows


def _load(ask: DataAsk) -> Segmenter:
    """Model and head, both in memory all the time: every picture needs both."""
    device = ask.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype: torch.dtype = getattr(torch, ask.dtype)
    if ask.head == TRAINING_FREE:
        backbone = load_backbone(ask.model, device=device, dtype=dtype, whole_unet=True)
        return Segmenter(backbone, load_head("training-free"))
    head = load_head(ask.head, device=device, dtype=dtype)
    whole = needs_whole_unet(head.config.taps)
    return Segmenter(load_backbone(ask.model, device=device, dtype=dtype, whole_unet=whole), head)


def _name(ask: DataAsk) -> str:
    """The data set, whose split it is, and how much of it."""
    parts = [ask.data, ask.folder.name]
    if ask.partition:
        parts.append(ask.partition)
    if ask.limit:
        parts.append(f"the first {ask.limit} phrases of a split")
    return ", ".join(parts)
