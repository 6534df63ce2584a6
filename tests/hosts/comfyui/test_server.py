"""The pack as ComfyUI finds it in custom_nodes: every node there, at no cost, touching nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from .client import Client
from .hosts import find_python
from .rig import PACK, Server, host_environment
from .workflows import miniature

NODES = {
    "LDZNetLoadMiniature": ["MODEL", "CLIP", "VAE"],
    "LDZNetLoadHead": ["LDZNET_HEAD"],
    "LDZNetCapture": ["MODEL"],
    "LDZNetSegment": ["MASK", "MASK", "IMAGE", "FLOAT", "MASK", "STRING", "BOOLEAN"],
    "LDZNetSegmentImage": ["MASK", "MASK", "IMAGE", "FLOAT", "MASK", "STRING", "BOOLEAN"],
    "LDZNetPromptMask": ["MASK", "IMAGE"],
    "LDZNetSnapMask": ["MASK"],
    "LDZNetSplitMask": ["MASK", "MASK", "INT"],
}
MILLISECONDS_TO_IMPORT = 300


class TestNodes:
    @pytest.mark.parametrize("node", NODES)
    def test_each_is_listed_with_its_outputs(self, every_client: Client, node: str) -> None:
        assert every_client.object_info()[node]["output"] == NODES[node]

    @pytest.mark.parametrize("node", NODES)
    def test_each_explains_itself(self, every_client: Client, node: str) -> None:
        info = every_client.object_info()[node]
        assert (info["category"], info["python_module"]) == ("LD-ZNet", f"custom_nodes.{PACK}")
        assert info["description"]
        assert [name for name, tooltip in _tooltips(info).items() if not tooltip] == []
        assert all(info["output_tooltips"])

    def test_there_are_no_others(self, every_client: Client) -> None:
        ours = {name for name in every_client.object_info() if name.startswith("LDZNet")}
        assert ours == NODES.keys()

    def test_output_nodes_are_those_that_show_masks(self, every_client: Client) -> None:
        info = every_client.object_info()
        assert [name for name in NODES if info[name]["output_node"]] == [
            "LDZNetSegment",
            "LDZNetSegmentImage",
            "LDZNetPromptMask",
        ]

    def test_lists_and_single_values_are_told_apart(self, every_client: Client) -> None:
        for node in ("LDZNetSegment", "LDZNetSegmentImage"):
            lists = every_client.object_info()[node]["output_is_list"]
            assert lists == [False, True, False, True, True, False, True]
        assert every_client.object_info()["LDZNetSplitMask"]["output_is_list"] == [
            False,
            True,
            False,
        ]


class TestLog:
    def test_says_nothing_of_trouble_with_the_pack(self, every_server: Server) -> None:
        start, is_complete, _ = every_server.log.partition("To see the GUI go to")
        assert is_complete
        imported = [line for line in start.splitlines() if _names_the_pack(line)]
        assert len(imported) == 1, imported  # in the host's own list of import times
        assert "FAILED" not in imported[0]


class TestWhatThePackTouches:
    def test_on_import_nothing_but_its_own_folders(self, every_server: Server) -> None:
        touched = [event for event in _audit(every_server) if event["while"] == "import"]
        assert [event for event in touched if not _is_allowed(event, every_server)] == []

    def test_no_network_and_nothing_elsewhere_during_a_run(
        self, every_server: Server, every_client: Client
    ) -> None:
        setup = miniature(every_client)
        captured = setup.capture()
        setup.segment(captured, setup.sample(captured, setup.empty()))
        setup.segment_image(setup.graph.add("LDZTestDot"))
        every_client.run(setup.graph)
        touched = [event for event in _audit(every_server) if event["while"] == "run"]
        stranger = [event for event in touched if not _is_allowed(event, every_server)]
        assert stranger == []


def test_the_import_costs_little_beyond_torch(every_server: Server) -> None:
    measured: list[float] = []
    while len(measured) < 3 and min(measured, default=1e9) >= MILLISECONDS_TO_IMPORT:
        measured.append(_milliseconds_to_import(every_server))  # the first may compile bytecode
    assert min(measured) < MILLISECONDS_TO_IMPORT, measured


def _tooltips(info: Mapping[str, Any]) -> dict[str, str | None]:
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return {name: options[1].get("tooltip") for name, options in inputs.items()}


def _names_the_pack(line: str) -> bool:
    return line.rstrip().endswith(f"{PACK}") or f"{PACK}/" in line or f"{PACK}:" in line


def _audit(server: Server) -> list[dict[str, Any]]:
    lines = (server.base / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _is_allowed(event: dict[str, Any], server: Server) -> bool:
    """Tell whether the pack may do this: read itself and heads, and in a run write previews."""
    if event["event"].startswith(("socket", "subprocess", "urllib")):
        return False
    if event["imports"]:  # Python's own search for modules, and what torch's do as they load
        return True
    if event["event"] not in ("open", "os.listdir", "os.scandir", "os.mkdir"):
        return False
    path, mode = Path(event["arguments"][0]), "".join(event["arguments"][1:2])
    heads = server.base / "models" / "ldznet"
    if event["while"] == "import":
        reads, writes = [server.base / "custom_nodes" / PACK, heads], [heads]
    else:  # the host's own files are read for it, and the free memory
        reads, writes = [server.base, server.host.folder, Path("/proc")], [server.base / "temp"]
    is_write = event["event"] == "os.mkdir" or (
        event["event"] == "open" and set(mode) & set("wax+")
    )
    return any(folder in (path, *path.parents) for folder in (writes if is_write else reads))


_IMPORT = """
import asyncio, gc, os, sys, time
sys.path.insert(0, os.getcwd())
import main  # with torch and all that ComfyUI imports before it looks for nodes

async def measured():
    await main.nodes.init_builtin_extra_nodes()
    gc.collect()
    gc.freeze()  # else a collection of the host's own objects may fall into the measured time
    start = time.process_time()
    was_loaded = await main.nodes.load_custom_node(os.environ["LDZNET_TESTS_PACK"])
    print("LOADED", was_loaded, 1000 * (time.process_time() - start))

asyncio.run(measured())
"""


def _milliseconds_to_import(server: Server) -> float:
    """Processor time that the host's own loader takes for the pack, with the host imported."""
    python = find_python(server.host)
    done = subprocess.run(
        [str(python.path), "-c", _IMPORT, "--cpu", "--base-directory", str(server.base)],
        cwd=server.host.folder,
        env=host_environment(python)
        | {"LDZNET_TESTS_PACK": str(server.base / "custom_nodes" / PACK)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert lines, done.stderr
    _, was_loaded, milliseconds = lines[0].split()
    assert was_loaded == "True", done.stderr
    return float(milliseconds)
