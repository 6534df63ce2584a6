"""``ldznet convert``: the authors' checkpoint as a head in one safetensors file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from ..conversion import convert_checkpoint
from .options import option

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    source: Path = option(
        Path(), "the authors' checkpoint, such as LDZNet_txt2mask.ckpt", positional=True
    )
    target: Path = option(Path(), "the .safetensors file to write", positional=True)
    weights: Literal["ema", "raw"] = option(
        "ema", "moving averages, with which the authors infer, or the last step's weights"
    )
    dtype: Literal["float16", "bfloat16", "float32"] = option(
        "float16", "what the weights are stored in"
    )
    positional_tables: Literal["shape", "count"] = option(
        "shape",
        "resize positional tables to every map of another shape, or, as the authors do, of another "
        "number of positions",
    )


def run(options: Options) -> dict[str, Any]:
    """Convert, and say what was kept and what was dropped."""
    with tqdm(unit_scale=True, leave=False, disable=None) as bar:

        def show(part: str, done: int, size: int) -> None:
            if bar.disable:
                return
            if bar.desc != f"{part}: ":
                bar.reset(size)
                bar.set_description(part)
            bar.update(done - bar.n)

        done = convert_checkpoint(
            options.source,
            options.target,
            weights=options.weights,
            dtype=_DTYPES[options.dtype],
            positional_tables=options.positional_tables,
            on_progress=show,
        )
    return {
        "file": str(done.file),
        "bytes": done.file.stat().st_size,
        "weights": done.weights,
        "notice": done.notice,
        "kept": done.kept,
        "dropped": done.dropped,
        "source_sha256": done.source_sha256,
    }


def describe(report: dict[str, Any]) -> str:
    """The report, a line for each fact."""
    dropped = ", ".join(f"{count} of {what}" for what, count in report["dropped"].items())
    lines = [
        f"{report['file']}: {report['bytes'] / 2**20:.1f} MiB",
        f"kept {report['kept']} tensors, the {report['weights']} weights",
        f"left behind: {dropped or 'nothing'}",
        f"source: sha256 {report['source_sha256']}",
    ]
    return "\n".join([f"notice: {report['notice']}", *lines] if report["notice"] else lines)
