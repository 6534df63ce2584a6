"""The pack behind ComfyUI's door, in a host that is only there while a test looks."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

STAND_IN = Path(__file__).parent / "stand_in"
HOST_PACKAGES = ("comfy", "comfy_api", "folder_paths")
PACK = "ldznet_pack"


@dataclass(frozen=True)
class Pack:
    """The pack as a host has loaded it, with a copy of the core of its own."""

    door: ModuleType

    def module(self, name: str) -> ModuleType:
        """One of its modules, such as ``nodes.bank`` or ``ldznet_core``."""
        return importlib.import_module(f"{self.door.__name__}.{name}")

    def nodes(self) -> dict[str, Any]:
        """Its nodes by id, asked for as nodes.py:load_custom_node of ComfyUI 0.8.0 does."""
        extension = asyncio.run(self.door.comfy_entrypoint())
        return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}


@contextmanager
def host(folder: Path) -> Iterator[None]:
    """The stand-ins in the place of any real host; afterwards all is as it was.

    Args:
        folder: For models and previews.
    """
    with _packages_set_aside(HOST_PACKAGES):
        sys.path.insert(0, str(STAND_IN))
        try:
            folder_paths = importlib.import_module("folder_paths")
            for name, place in (("models_dir", "models"), ("temp_directory", "temp")):
                (folder / place).mkdir(exist_ok=True)
                setattr(folder_paths, name, str(folder / place))
            yield
        finally:
            sys.path.remove(str(STAND_IN))


@contextmanager
def loaded_pack(root: Path, name: str = PACK) -> Iterator[Pack]:
    """The pack, imported from its folder under a name that the host chose."""
    with _packages_set_aside((name,)):
        spec = importlib.util.spec_from_file_location(name, root / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        yield Pack(sys.modules[name])


@contextmanager
def _packages_set_aside(packages: tuple[str, ...]) -> Iterator[None]:
    """Let packages of these names be imported anew, and bring back what was there."""

    def taken_out() -> dict[str, ModuleType]:
        found = [
            name
            for name in sys.modules
            if any(name == package or name.startswith(f"{package}.") for package in packages)
        ]
        return {name: sys.modules.pop(name) for name in found}

    before = taken_out()
    try:
        yield
    finally:
        taken_out()
        sys.modules.update(before)
