"""Weights on disk: shards, whole sets, nothing half-written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ldznet_core.errors import CheckpointError
from ldznet_core.shards import find_files
from ldznet_core.weights import read_metadata, read_weights, write_weights

STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.bias": torch.tensor([1.5, -2.0]).to(torch.bfloat16),
    "scalar": torch.tensor(3.0),
    "rows": torch.tensor([4, 5]),
    "empty": torch.empty(0, 2),
}
METADATA = {"config": '{"side": 8}'}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _large(count: int) -> dict[str, torch.Tensor]:
    return {f"layer.{number}": torch.full((256,), float(number)) for number in range(count)}


@pytest.mark.parametrize("given", ["set", "set.safetensors"])
def test_one_file_comes_back_as_it_was(tmp_path: Path, given: str) -> None:
    assert write_weights(STATE, tmp_path / given, METADATA) == [tmp_path / "set.safetensors"]
    tensors, metadata = read_weights(tmp_path / given)
    torch.testing.assert_close(tensors, STATE, atol=0, rtol=0)
    assert metadata == METADATA
    assert read_metadata(tmp_path / given) == METADATA


@pytest.mark.parametrize("given", ["set", "set.safetensors", "set-1of3.safetensors", "set-3of3"])
def test_shards_are_found_by_the_stem_or_by_any_of_them(tmp_path: Path, given: str) -> None:
    files = write_weights(_large(5), tmp_path / "set", METADATA, max_shard_bytes=4096)
    assert _names(tmp_path) == [f"set-{number}of3.safetensors" for number in (1, 2, 3)]
    assert all(file.stat().st_size <= 4096 for file in files)
    tensors, metadata = read_weights(tmp_path / given)
    torch.testing.assert_close(tensors, _large(5), atol=0, rtol=0)
    assert metadata == METADATA


def test_a_tensor_larger_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    state = {"small": torch.zeros(4), "large": torch.zeros(4096), "last": torch.zeros(4)}
    assert len(write_weights(state, tmp_path / "set", {}, max_shard_bytes=4096)) == 3


def test_the_same_weights_make_the_same_bytes(tmp_path: Path) -> None:
    files = [write_weights(STATE, tmp_path / name, METADATA)[0] for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_writing_again_leaves_nothing_of_the_former_set(tmp_path: Path) -> None:
    neighbours = write_weights(STATE, tmp_path / "set-extra", METADATA)
    for shard_bytes, count in [(4096, 3), (None, 1), (8192, 1), (2048 + 512, 5)]:
        files = write_weights(_large(5), tmp_path / "set", METADATA, max_shard_bytes=shard_bytes)
        assert len(files) == count
        assert find_files(tmp_path / "set") == files
        assert _names(tmp_path) == sorted(file.name for file in (*files, *neighbours))


def test_a_folder_is_made_for_them(tmp_path: Path) -> None:
    assert write_weights(STATE, tmp_path / "new" / "set", {})[0].is_file()


def test_others_may_read_the_files(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    file = write_weights(STATE, tmp_path / "set", {})[0]
    assert file.stat().st_mode == plain.stat().st_mode


def test_a_file_may_be_replaced_while_its_weights_are_in_use(tmp_path: Path) -> None:
    write_weights({"a": torch.ones(3)}, tmp_path / "set", {})
    tensors, _ = read_weights(tmp_path / "set")
    write_weights({"a": torch.zeros(3)}, tmp_path / "set", {})
    assert tensors["a"].tolist() == [1.0] * 3


def test_a_failure_leaves_the_former_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_weights(STATE, tmp_path / "set", METADATA)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CheckpointError, match="No space left on device"):
        write_weights(_large(5), tmp_path / "set", {}, max_shard_bytes=4096)
    assert _names(tmp_path) == ["set.safetensors"]
    assert read_weights(tmp_path / "set")[1] == METADATA


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="check the folder"):
        write_weights(STATE, tmp_path / "file" / "set", {})


class TestRefusals:
    def test_a_missing_shard_is_named(self, tmp_path: Path) -> None:
        write_weights(_large(5), tmp_path / "set", {}, max_shard_bytes=4096)
        (tmp_path / "set-2of3.safetensors").unlink()
        with pytest.raises(CheckpointError, match=r"3 shards of .*, set-2of3\.safetensors missing"):
            read_weights(tmp_path / "set")

    def test_a_mixture_of_two_sets_is_noticed(self, tmp_path: Path) -> None:
        write_weights(_large(5), tmp_path / "set", {}, max_shard_bytes=4096)
        former = (tmp_path / "set-1of3.safetensors").read_bytes()
        changed = {name: tensor + 1 for name, tensor in _large(5).items()}
        write_weights(changed, tmp_path / "set", {}, max_shard_bytes=4096)
        (tmp_path / "set-1of3.safetensors").write_bytes(former)
        with pytest.raises(CheckpointError, match="got shards of several"):
            read_weights(tmp_path / "set")

    def test_an_old_file_beside_the_shards_is_noticed(self, tmp_path: Path) -> None:
        write_weights(_large(5), tmp_path / "set", {}, max_shard_bytes=4096)
        (tmp_path / "set.safetensors").write_bytes(b"old")
        with pytest.raises(CheckpointError, match=r"set.*\.safetensors besides"):
            read_weights(tmp_path / "set")

    @pytest.mark.parametrize("kept", [0, 4, 100])
    def test_a_damaged_file(self, tmp_path: Path, kept: int) -> None:
        file = write_weights(STATE, tmp_path / "set", {})[0]
        file.write_bytes(file.read_bytes()[:kept])
        for read in (read_weights, read_metadata):
            with pytest.raises(CheckpointError, match="expected safetensors in"):
                read(file)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="found none"):
            read_weights(tmp_path)

    @pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.pth", "model.bin"])
    def test_a_pickle(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(CheckpointError, match="got the pickle"):
            read_weights(tmp_path / name)


@pytest.mark.parametrize("name", [".safetensors", "-1of2.safetensors"])
def test_a_file_that_is_nothing_but_an_ending_is_no_set_and_hides_none(
    name: str, tmp_path: Path
) -> None:
    write_weights({"a": torch.zeros(1)}, tmp_path / "one", {})
    (tmp_path / name).touch()
    assert [file.name for file in find_files(tmp_path / "one")] == ["one.safetensors"]
    with pytest.raises(CheckpointError, match="rename the file"):
        find_files(tmp_path / name)
