"""``ldznet info``: what a weights file holds, without loading it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..checkpoint import BUILT_IN, CONFIG_KEY, read_config
from ..conversion import PROVENANCE_KEY
from ..weights import find_files, read_metadata
from .options import option


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    name: str = option("", "a built-in head's name, or a weights file", positional=True)


def run(options: Options) -> dict[str, Any]:
    """What the file says of itself."""
    path = BUILT_IN.get(options.name, options.name)
    files = find_files(path)
    report: dict[str, Any] = {
        "name": options.name,
        "files": [file.name for file in files],
        "bytes": sum(file.stat().st_size for file in files),
    }
    metadata = read_metadata(path)
    if CONFIG_KEY in metadata:
        report["head"] = asdict(read_config(path))
        if PROVENANCE_KEY in metadata:
            report["provenance"] = _provenance(metadata[PROVENANCE_KEY])
    else:
        report["metadata"] = metadata
    return report


def describe(report: dict[str, Any]) -> str:
    """The report, a line for each fact."""
    lines = [
        f"{report['name']}: {', '.join(report['files'])}, {report['bytes'] / 2**20:.1f} MiB",
    ]
    facts = report.get("head") or report["metadata"]
    facts = facts | report.get("provenance", {})
    lines += [
        f"  {key}: {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in facts.items()
    ]
    return "\n".join(lines)


def _provenance(text: str) -> dict[str, Any]:
    """Where a head comes from; as the file says it, if that is not what `convert` writes."""
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {PROVENANCE_KEY: text}
