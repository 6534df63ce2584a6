"""Where a real A1111 and a real Forge are on this machine, and which Python runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROJECT = Path(__file__).resolve().parents[3]
"""The project's folder, which is the extension."""

Kind = Literal["webui", "forge"]
"""A1111, or one of those that grew out of it: Forge and reForge."""

NO_HOST = {
    "webui": "found no A1111: set LDZNET_WEBUI to a checkout of it, or put one at ~/hosts/webui",
    "forge": "found no Forge: set LDZNET_FORGE to a checkout of it, or put one at ~/hosts/forge",
}
"""Why tests of this folder are skipped on a machine without a host."""

_NEEDED = ("torch", "gradio", "fastapi", "transformers", "safetensors", "einops")
_PROBE = """
import importlib.util, json, sys
print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]))
"""
_VERSION_FILES = (
    ("modules_forge/forge_version.py", r"version = '([^']+)'"),
    ("CHANGELOG.md", r"^## ([\d.]+)"),
)


@dataclass(frozen=True, slots=True)
class Host:
    """A checkout of a WebUI."""

    folder: Path
    kind: Kind
    version: str


class NoPythonError(Exception):
    """No Python on this machine can run a host; the message says what was looked for."""


def find_host(kind: Kind) -> Host | None:
    """Return the host of a kind that is on this machine, if there is one."""
    for folder in _candidates(kind):
        if _kind_of(folder) == kind:
            return Host(folder.resolve(), kind, _version(folder))
    return None


def find_python(host: Host) -> Path:
    """Return the Python that runs a host.

    Raises:
        NoPythonError: None has what the host needs.
    """
    variable = f"LDZNET_{host.kind.upper()}_PYTHON"
    tried = []
    for python in _pythons(host, variable):
        missing = _missing_in(python)
        if not missing:
            return python
        tried.append(f"{python}, which lacks {', '.join(missing)}")
    raise NoPythonError(
        f"found no Python for {host.folder}: install its requirements in its folder venv, or set "
        f"{variable} (tried: {'; '.join(tried) or 'none'})"
    )


def _candidates(kind: Kind) -> Iterator[Path]:
    named = os.environ.get(f"LDZNET_{kind.upper()}")
    if named:
        yield Path(named).expanduser()
        return
    yield Path.home() / "hosts" / kind
    if PROJECT.parent.name == "extensions":
        yield PROJECT.parent.parent


def _kind_of(folder: Path) -> Kind | None:
    if not all((folder / part).exists() for part in ("launch.py", "webui.py", "modules")):
        return None
    return "forge" if (folder / "modules_forge").is_dir() else "webui"


def _version(folder: Path) -> str:
    for name, pattern in _VERSION_FILES:
        file = folder / name
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if match := re.search(pattern, text, re.MULTILINE):
            return match[1]
    return "unknown"


def _pythons(host: Host, variable: str) -> Iterator[Path]:
    named = os.environ.get(variable)
    if named:
        yield Path(named).expanduser()
        return
    inside = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for name in ("venv", ".venv"):
        if (host.folder / name / inside).exists():
            yield host.folder / name / inside


def _missing_in(python: Path) -> list[str]:
    """What a Python lacks of what every host imports."""
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _PROBE, *_NEEDED], capture_output=True, text=True, timeout=120
        )
        missing: list[str] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ["everything, for it does not run"]
    return missing
