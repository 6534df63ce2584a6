"""Where users put heads, and how a changed file is noticed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ldznet_core.checkpoint import save_head
from ldznet_core.head import LDZNetHead

from ..core.tiny import tiny_head
from .loading import Pack

OFFERED = ["auto", "miniature-compact", "miniature", "training-free"]
"""What is offered without any file."""

SHARDS = [f"large-{number}of3.safetensors" for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def head() -> LDZNetHead:
    return tiny_head()


def put(folder: Path, *names: str) -> None:
    """Have files of these names, which none of the listings reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def files(pack: Pack, name: str) -> list[Path]:
    found: list[Path] = pack.module("nodes.folders").head_files(name)
    return found


def options(pack: Pack) -> list[str]:
    """What the node offers."""
    found: list[str] = pack.nodes()["LDZNetLoadHead"].GET_SCHEMA().inputs[0].options
    return found


class TestTheFolder:
    def test_it_is_made_when_the_nodes_are_asked_for(self, pack: Pack, models: Path) -> None:
        pack.nodes()
        assert (models / "ldznet").is_dir()

    def test_it_comes_first_and_folders_that_users_named_before_it_count_too(
        self, pack: Pack, models: Path
    ) -> None:
        """extra_model_paths.yaml is read before any pack is."""
        import folder_paths

        elsewhere = models / "on another disk"
        put(elsewhere, "far.safetensors", "notes.txt")
        folder_paths.add_model_folder_path("ldznet", str(elsewhere))
        assert options(pack) == [*OFFERED, "far.safetensors"]
        assert folder_paths.get_folder_paths("ldznet") == [str(models / "ldznet"), str(elsewhere)]
        assert files(pack, "far.safetensors") == [elsewhere / "far.safetensors"]

    def test_of_two_heads_of_one_name_its_own_is_meant(self, pack: Pack, ldznet: Path) -> None:
        import folder_paths

        elsewhere = ldznet.parent / "on another disk"
        folder_paths.add_model_folder_path("ldznet", str(elsewhere))
        for folder in (ldznet, elsewhere):
            put(folder, "mine.safetensors")
        assert options(pack) == [*OFFERED, "mine.safetensors"]
        assert files(pack, "mine.safetensors") == [ldznet / "mine.safetensors"]

    def test_registering_twice_changes_nothing(self, pack: Pack, ldznet: Path) -> None:
        import folder_paths

        pack.module("nodes.folders").register()
        assert folder_paths.folder_names_and_paths == {"ldznet": ([str(ldznet)], {".safetensors"})}

    def test_where_it_cannot_be_made_the_built_in_heads_are_there(
        self, pack: Pack, models: Path
    ) -> None:
        (models / "ldznet").touch()  # a file in its place
        assert options(pack) == OFFERED


class TestNames:
    def test_only_safetensors_are_heads(self, pack: Pack, ldznet: Path) -> None:
        put(ldznet, "mine.safetensors", "old.ckpt", "old.pt", "a.txt", "mine.safetensors.part")
        assert options(pack) == [*OFFERED, "mine.safetensors"]

    def test_a_head_in_several_files_is_listed_once(self, pack: Pack, ldznet: Path) -> None:
        put(ldznet, *SHARDS, "larger.safetensors")
        assert options(pack) == [*OFFERED, "large.safetensors", "larger.safetensors"]
        assert files(pack, "large.safetensors") == [ldznet / name for name in SHARDS]

    def test_a_head_in_a_folder_below_bears_its_name(self, pack: Pack, ldznet: Path) -> None:
        put(ldznet / "sd15", "people.safetensors")
        assert options(pack) == [*OFFERED, "sd15/people.safetensors"]
        assert files(pack, "sd15/people.safetensors") == [ldznet / "sd15" / "people.safetensors"]

    def test_the_built_in_head_needs_no_folder(self, pack: Pack, ldznet: Path) -> None:
        assert all(file.is_file() for file in files(pack, "miniature"))

    def test_a_file_that_is_missing_is_told_with_what_is_there(
        self, pack: Pack, ldznet: Path
    ) -> None:
        put(ldznet, "mine.safetensors")
        node = pack.nodes()["LDZNetLoadHead"]
        sentence = r"expected one of the heads .*, mine.safetensors, got 'gone.safetensors'"
        for call in (node.execute, node.fingerprint_inputs):
            with pytest.raises(pack.module("ldznet_core").CheckpointError, match=sentence):
                call("gone.safetensors")


class TestLoading:
    def test_the_file_that_was_chosen_is_the_head_that_is_loaded(
        self, pack: Pack, ldznet: Path, head: LDZNetHead
    ) -> None:
        save_head(head, ldznet / "mine", max_shard_bytes=2**24)
        loaded = pack.nodes()["LDZNetLoadHead"].execute("mine.safetensors").result[0]
        assert loaded.config.family == head.config.family
        weights = loaded._patcher.model.state_dict()
        assert all(torch.equal(weights[name], own) for name, own in head.state_dict().items())

    @pytest.mark.parametrize("number", [0, 2])
    def test_one_of_several_files_that_is_missing_is_named(
        self, pack: Pack, ldznet: Path, number: int
    ) -> None:
        put(ldznet, *SHARDS)
        (ldznet / SHARDS[number]).unlink()
        error = pack.module("ldznet_core").CheckpointError
        with pytest.raises(error, match=f"{SHARDS[number]} missing: copy all of them"):
            pack.nodes()["LDZNetLoadHead"].execute("large.safetensors")

    def test_weights_of_something_else_are_refused(self, pack: Pack, ldznet: Path) -> None:
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(2)}, ldznet / "lora.safetensors")
        error = pack.module("ldznet_core").CheckpointError
        with pytest.raises(error, match="expected a head with its configuration"):
            pack.nodes()["LDZNetLoadHead"].execute("lora.safetensors")


class TestFingerprint:
    @pytest.fixture
    def fingerprint(self, pack: Pack, ldznet: Path) -> Any:
        put(ldznet, *SHARDS, "mine.safetensors")
        return pack.nodes()["LDZNetLoadHead"].fingerprint_inputs

    @pytest.mark.parametrize("name", ["miniature", "mine.safetensors", "large.safetensors"])
    def test_it_stays_as_long_as_the_files_do(self, fingerprint: Any, name: str) -> None:
        assert fingerprint(name) == fingerprint(name)

    @pytest.mark.parametrize("name", SHARDS)
    def test_it_changes_with_the_time_of_any_of_the_files(
        self, fingerprint: Any, ldznet: Path, name: str
    ) -> None:
        before = fingerprint("large.safetensors")
        state = (ldznet / name).stat()
        os.utime(ldznet / name, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
        assert fingerprint("large.safetensors") != before

    def test_it_changes_with_the_size(self, fingerprint: Any, ldznet: Path) -> None:
        file = ldznet / "mine.safetensors"
        before, state = fingerprint(file.name), file.stat()
        file.write_bytes(b"other")
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert fingerprint(file.name) != before


def test_a_head_tells_the_host_how_large_it_is_and_how_much_room_it_needs(
    pack: Pack, ldznet: Path, head: LDZNetHead
) -> None:
    from comfy import model_management

    from ..core.tiny import tiny_inputs

    save_head(head, ldznet / "mine.safetensors")
    loaded: Any = pack.nodes()["LDZNetLoadHead"].execute("mine.safetensors").result[0]
    assert loaded.get_ram_usage() == sum(each.nbytes for each in head.state_dict().values())
    latents, context, features = tiny_inputs(head, rows=3)
    model_management.loads.clear()
    with torch.inference_mode():
        logits = loaded(latents, context, features)
        assert torch.equal(logits, head(latents, context, features))
    (load,) = model_management.loads
    assert load.models == (loaded._patcher.model,)
    assert load.force_full_load
    needed = pack.module("ldznet_core.head").activation_bytes(head.config, 3, (8, 8), 4)
    assert load.memory_required == needed
