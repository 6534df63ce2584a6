"""Where a real ComfyUI is on this machine, and which Python runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
"""The project's folder, which is the custom node pack."""

NO_HOST = (
    "found no ComfyUI: set LDZNET_COMFYUI to a checkout of it (several: separated by "
    f"{os.pathsep!r}), or put one at ~/hosts/comfyui"
)
"""Why the tests of this folder are skipped on a machine without a host."""

_NEEDED = ("torch", "torchsde", "aiohttp")
_PROBE = """
import importlib.util, json, sys
found = {name: importlib.util.find_spec(name) is not None for name in sys.argv[1:]}
if found["torchvision"]:
    try:
        import torchvision
    except Exception:
        found["torchvision"] = False
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Host:
    """A ComfyUI checkout."""

    folder: Path
    version: str


@dataclass(frozen=True, slots=True)
class HostPython:
    """A Python with what ComfyUI imports, except that two packages may be wanting."""

    path: Path
    has_torchvision: bool
    has_frontend: bool


class NoPythonError(Exception):
    """No Python on this machine can run a host; the message says what was looked for."""


def find_hosts() -> list[Host]:
    """Return the hosts on this machine, the newest version first."""
    folders = {folder.resolve(): None for folder in _candidates()}
    hosts = [Host(folder, _version(folder)) for folder in folders if _is_host(folder)]
    return sorted(hosts, key=lambda host: _sort_key(host.version), reverse=True)


def find_python(host: Host) -> HostPython:
    """Return the Python that runs a host.

    Raises:
        NoPythonError: None has what ComfyUI needs.
    """
    for path in _pythons(host):
        found = _probe(path)
        if all(found.get(name) for name in _NEEDED):
            return HostPython(path, found["torchvision"], found["comfyui_frontend_package"])
    tried = ", ".join(str(path) for path in _pythons(host)) or "none"
    raise NoPythonError(
        f"found no Python with {', '.join(_NEEDED)} for ComfyUI {host.version}: make one in its "
        f"folder venv, or set LDZNET_COMFYUI_PYTHON (tried: {tried})"
    )


def _candidates() -> Iterator[Path]:
    named = os.environ.get("LDZNET_COMFYUI")
    if named:
        yield from (Path(part).expanduser() for part in named.split(os.pathsep) if part)
        return
    usual = sorted((Path.home() / "hosts").glob("comfyui*"))
    yield from usual
    if not usual and PROJECT.parent.name == "custom_nodes":
        yield PROJECT.parent.parent


def _is_host(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir()


def _version(folder: Path) -> str:
    try:
        text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    match = re.search(r'__version__ = "([^"]+)"', text)
    return match[1] if match else "unknown"


def _sort_key(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _pythons(host: Host) -> Iterator[Path]:
    named = os.environ.get("LDZNET_COMFYUI_PYTHON")
    if named:
        yield Path(named).expanduser()
        return
    inside = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for name in ("venv", ".venv"):
        if (host.folder / name / inside).exists():
            yield host.folder / name / inside
    if all(importlib.util.find_spec(name) for name in _NEEDED):
        yield Path(sys.executable)


def _probe(python: Path) -> dict[str, bool]:
    names = [*_NEEDED, "torchvision", "comfyui_frontend_package"]
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _PROBE, *names], capture_output=True, text=True, timeout=120
        )
        found: dict[str, bool] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return found
