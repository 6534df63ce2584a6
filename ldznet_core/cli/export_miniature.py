"""``ldznet export-miniature``: the miniature as a checkpoint that hosts load as any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..backends import MINIATURE
from ..errors import InputError
from ..miniature.export import export_miniature
from ..miniature.parts import WEIGHTS
from .options import option
from .staging import staged


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    folder: Path = option(
        Path(), "where to write; files of the same names are replaced", positional=True
    )
    for_: Literal["webui", "ldm"] = option(
        "webui",
        "A1111, which needs a configuration and CLIP's folder beside the checkpoint, or the "
        "checkpoint alone in the layout of LDM",
    )
    model: str = option(MINIATURE, '"miniature" or a folder of such weights')


def run(options: Options) -> dict[str, Any]:
    """Export, and say what was written."""
    source = WEIGHTS if options.model == MINIATURE else Path(options.model)
    with staged(options.folder) as draft:
        written = export_miniature(draft, options.for_, source=source, home=options.folder)
        files = [options.folder / file.relative_to(draft) for file in written]
        if in_the_way := [file for file in files if file.is_dir()]:
            raise InputError(
                f"expected to write the file {in_the_way[0]}, got a folder of that name: rename it"
            )
    return {
        "for": options.for_,
        "checkpoint": str(files[0]),
        "files": [str(file) for file in files],
        "bytes": sum(file.stat().st_size for file in files),
    }


def describe(report: dict[str, Any]) -> str:
    """The report, a line for each file."""
    lines = [*report["files"], f"{report['bytes'] / 2**20:.1f} MiB in all"]
    if report["for"] == "webui":
        lines.append("the configuration names the CLIP folder by its whole path: do not move it")
    return "\n".join(lines)
