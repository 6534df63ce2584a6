"""Heads that users bring: files of models/ldznet, as the loader node sees them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ldznet_core import load_head, save_head

from .client import Client
from .graph import Node
from .rig import Server
from .workflows import Setup, miniature

LOADER = "LDZNetLoadHead"


@pytest.fixture(scope="module")
def folder(server: Server) -> Path:
    """Where the pack looks for heads; it has made the folder itself."""
    return server.base / "models" / "ldznet"


@pytest.fixture(scope="module")
def own_head(folder: Path) -> str:
    """The name of a user's own file: the miniature's head, written anew."""
    save_head(load_head("miniature"), folder / "mine.safetensors")
    return "mine.safetensors"


def names(client: Client) -> list[str]:
    """What the loader offers."""
    kind, options = client.object_info(anew=True)[LOADER]["input"]["required"]["head_name"]
    offered: list[str] = kind if isinstance(kind, list) else options["options"]
    return offered


def with_head(client: Client, head_name: str) -> Setup:
    """Begin a graph with another head."""
    setup = miniature(client)
    setup.graph.set(Node(setup.head.node, []), head_name=head_name)
    return setup


def test_the_folder_is_made(folder: Path) -> None:
    assert folder.is_dir()


def test_heads_are_offered_and_other_files_are_not(
    client: Client, folder: Path, own_head: str
) -> None:
    (folder / "old.ckpt").write_bytes(b"pickled")
    offered = names(client)
    assert offered[:2] == ["auto", "miniature-compact"]
    assert own_head in offered
    assert not any("ckpt" in name for name in offered)


def test_a_file_gives_the_masks_of_the_head_that_is_in_it(client: Client, own_head: str) -> None:
    found = []
    for name in ("miniature", own_head):
        setup = with_head(client, name)
        read = setup.read(setup.segment_image(setup.graph.add("LDZTestDot"))["probabilities"])
        found.append(client.values(client.run(setup.graph), read)[0])
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=0)  # one is stored in half


def test_a_file_that_changed_is_loaded_anew(client: Client, folder: Path, own_head: str) -> None:
    setup = with_head(client, own_head)
    setup.segment_image(setup.graph.add("LDZTestDot"))
    client.run(setup.graph)
    assert client.run(setup.graph).executed == set()
    for file in folder.glob("mine*"):  # a large head is written in several files
        os.utime(file, (1, 1))
    assert setup.head.node in client.run(setup.graph).executed


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_damaged_file_is_refused_in_a_sentence(
    client: Client, folder: Path, content: bytes
) -> None:
    (folder / "damaged.safetensors").write_bytes(content)
    setup = with_head(client, "damaged.safetensors")
    setup.segment_image(setup.graph.add("LDZTestDot"))
    failure = client.run(setup.graph, may_fail=True).failure
    assert failure is not None
    assert failure.kind.endswith("CheckpointError")
    assert "damaged.safetensors" in failure.message
    assert "\n" not in failure.message


def test_a_file_outside_the_folder_is_not_reached(client: Client) -> None:
    setup = with_head(client, "../checkpoints/other.safetensors")
    setup.segment_image(setup.graph.add("LDZTestDot"))
    failure = client.run(setup.graph, may_fail=True).failure
    assert failure is not None
    assert failure.kind == "rejected"
