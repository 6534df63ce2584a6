"""The way in: what ComfyUI finds when it imports the folder."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .loading import HOST_PACKAGES, STAND_IN, Pack, host, loaded_pack

IDS = [
    "LDZNetLoadMiniature",
    "LDZNetLoadHead",
    "LDZNetCapture",
    "LDZNetSegment",
    "LDZNetSegmentImage",
    "LDZNetPromptMask",
    "LDZNetSnapMask",
    "LDZNetSplitMask",
]


def test_the_door_gives_the_eight_nodes_in_the_order_of_a_workflow(pack: Pack) -> None:
    assert list(pack.nodes()) == IDS


def test_the_door_is_the_one_that_the_host_looks_for(pack: Pack) -> None:
    """NODE_CLASS_MAPPINGS would hide the entry point (nodes.py:load_custom_node, 0.8.0)."""
    assert not hasattr(pack.door, "NODE_CLASS_MAPPINGS")
    assert inspect.iscoroutinefunction(pack.door.comfy_entrypoint)


def test_the_extension_is_the_host_s_kind_of_extension(pack: Pack) -> None:
    from comfy_api.latest import ComfyExtension

    assert isinstance(asyncio.run(pack.door.comfy_entrypoint()), ComfyExtension)


def test_the_web_directory_is_named_from_the_pack_s_folder(pack: Pack) -> None:
    assert pack.door.WEB_DIRECTORY == "./web"


@pytest.mark.parametrize("name", ["/opt/ComfyUI/custom_nodes/ldznet_x_main", "C:\\packs\\my-pack"])
def test_the_folder_may_be_called_anything(root: Path, tmp_path: Path, name: str) -> None:
    """The host names the module after its path, with ``_x_`` for a dot."""
    with host(tmp_path), loaded_pack(root, name) as pack:
        assert list(pack.nodes()) == IDS


def test_importing_the_folder_brings_in_neither_host_nor_torch(root: Path) -> None:
    script = f"""
import importlib.util, sys
sys.path.insert(0, {str(STAND_IN)!r})
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("pack", {str(root / "__init__.py")!r})
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
print({{name.split(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names)
"""
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("{'pack'}", "")


def test_asking_for_the_nodes_loads_no_compiler_and_no_library_of_models(root: Path) -> None:
    """The host has neither diffusers nor a reason to wait for torch's compiler."""
    script = f"""
import asyncio, importlib.util, sys, tempfile
sys.path[:0] = [{str(STAND_IN)!r}, {str(root)!r}]
import comfy.samplers, comfy.sd, comfy_api.latest, folder_paths
folder_paths.models_dir = tempfile.mkdtemp()
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("pack", {str(root / "__init__.py")!r})
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
extension = asyncio.run(sys.modules["pack"].comfy_entrypoint())
assert len(asyncio.run(extension.get_node_list())) == 8
heavy = {{"diffusers", "transformers", "accelerate", "torch._dynamo", "torch._inductor"}}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_no_stand_in_outlives_its_tests_and_a_real_host_comes_back(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.split(".")[0] in (*HOST_PACKAGES, "a_pack")]
        return {name: sys.modules[name] for name in names}

    def use_and_fail() -> None:
        with host(tmp_path), loaded_pack(root, "a_pack") as pack:
            pack.nodes()
            assert sys.modules["folder_paths"] is not real
            raise ZeroDivisionError

    real = ModuleType("folder_paths")
    monkeypatch.setitem(sys.modules, "folder_paths", real)
    before, path = here(), list(sys.path)
    with pytest.raises(ZeroDivisionError):
        use_and_fail()
    assert (here(), sys.path) == (before, path)
