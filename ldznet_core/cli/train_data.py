"""``ldznet train head --data``: a head for any model, from a data set's pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..data_sets import Format, Partition, Row, read_data
from ..errors import InputError
from ..head.config import Kind
from .models import DType
from .options import option

if TYPE_CHECKING:
    from ..training.data import DataHeadStage

_SPLIT = "train"


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The flags that play a part with ``--data`` alone."""

    data: Path | None = option(
        None, "head: folder of a data set to learn from, in the place of scenes"
    )
    format: Format = option("jsonl", "data: how it is laid out, as its authors publish it")
    split: str = option(_SPLIT, "data: the split to learn from")
    validation_split: str = option(
        "", "data: the split to be measured on; without one, pictures are held back"
    )
    held_out: int = option(100, "data: pictures held back, of few pictures at most a tenth")
    partition: Partition | None = option(
        None, "data: whose split of RefCOCO, + or g; unc, unc and umd if not given"
    )
    limit: int = option(0, "data: only so many phrases, the first ones; 0 is all")
    model: str = option(
        "miniature", "data: a model of `ldznet segment`, such as a file of Stable Diffusion 1.x"
    )
    dtype: DType = option("float32", "data: what the model's UNet computes in; it is frozen")
    template: str | None = option(
        None, 'data: what phrases are put into, such as "a photo of {}."; the head keeps it'
    )
    negatives: float = option(0.3, "data: share of phrases that name nothing in their picture")
    phrases: int | None = option(
        None, "data: phrases asked of each view (default: 1 for ldznet, 4 for compact)"
    )
    views: int = option(
        0, "data: views of each phrase, encoded once and kept on disk; 0 makes new ones every step"
    )
    questions: int = option(
        64, "data: held-out phrases that the head is measured by, and as many absent ones"
    )
    checkpointing: bool = option(
        False, "data: save memory by computing the head's activations twice"
    )


def make_stage(
    options: DataOptions,
    data: Path,
    folder: Path,
    *,
    kind: Kind,
    taps: list[int],
    side: int | None,
    start: Path | None,
    seed: int,
) -> DataHeadStage:
    """The stage that the flags ask for.

    Args:
        options: The flags.
        data: The folder of the data set.
        folder: Of the run.
        kind: Of the head.
        taps: Blocks that it reads.
        side: Of the pictures; None is the model's own.
        start: A head to go on from; None is a fresh one.
        seed: Of weights and views.

    Raises:
        LDZNetError: Something in the flags, the data or the weights cannot be used.
    """
    from ..training.data import DataPlan, HeadPlan, make_data_stage

    rows, held_out = _read(options, data)
    head = HeadPlan(kind=kind, taps=tuple(taps), side=side, template=options.template, start=start)
    plan = DataPlan(
        model=options.model,
        dtype=getattr(torch, options.dtype),
        head=head,
        data=f"{options.format} {data.name}, split {options.split}",
        negatives=options.negatives,
        phrases=options.phrases,
        views=options.views,
        questions=options.questions,
        recomputes=options.checkpointing,
        seed=seed,
    )
    return make_data_stage(plan, rows, held_out, folder)


def _read(options: DataOptions, data: Path) -> tuple[list[Row], list[Row]]:
    """Rows to learn from, and rows of other pictures to be measured by."""
    from ..training.data import hold_out

    if options.limit < 0 or options.held_out < 0:
        raise InputError(
            f"expected a limit and held-out pictures from 0 on, got {options.limit} and "
            f"{options.held_out}: correct them"
        )
    rows = read_data(data, options.format, options.split, options.partition)
    rows = rows[: options.limit] if options.limit else rows
    if not options.validation_split:
        return hold_out(rows, options.held_out)
    held_out = read_data(data, options.format, options.validation_split, options.partition)
    seen = {row.picture for row in rows}
    return rows, [row for row in held_out if row.picture not in seen]
