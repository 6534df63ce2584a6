"""The heads that can be chosen, and the one in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ldznet_core import CheckpointError, InputError, UnsupportedModelError, save_head
from ldznet_webui.heads import HeadKeeper, choose_head, list_heads

from ..core.tiny import tiny_head

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_head(tiny_head(), tmp_path / "mine", max_shard_bytes=None)
    save_head(tiny_head(), tmp_path / "deep" / "split", max_shard_bytes=10 * 2**20)
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    return tmp_path


def test_built_in_heads_come_first_and_shards_are_one_head(folder: Path) -> None:
    assert list_heads(folder) == [
        "miniature",
        "broken.safetensors",
        "deep/split.safetensors",
        "mine.safetensors",
    ]


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert list_heads(tmp_path / "gone") == ["miniature"]


class TestChoosing:
    def test_auto_takes_the_first_that_fits_the_family(self, folder: Path) -> None:
        assert choose_head("auto", "miniature", folder) == "miniature"
        assert choose_head("auto", "tiny", folder) == "deep/split.safetensors"

    def test_auto_without_any_says_where_to_put_one(self, folder: Path) -> None:
        with pytest.raises(
            UnsupportedModelError, match=r"expected a head for sd1 in .* found none"
        ):
            choose_head("auto", "sd1", folder)

    def test_a_name_is_taken_as_it_is(self, folder: Path) -> None:
        assert choose_head("mine.safetensors", "sd1", folder) == "mine.safetensors"

    @pytest.mark.parametrize("name", ["../x", "/etc/passwd", "mine", "gone.safetensors", "x" * 500])
    def test_other_names_are_refused_and_never_opened(self, folder: Path, name: str) -> None:
        with pytest.raises(InputError, match="expected one of the heads auto, miniature") as caught:
            choose_head(name, "tiny", folder)
        assert len(str(caught.value)) < 400


class TestKeeping:
    def test_a_head_is_read_once(self, folder: Path) -> None:
        keeper = HeadKeeper()
        with keeper.at_work("mine.safetensors", folder, CPU, torch.float32) as first:
            assert first.config.family == "tiny"
        with keeper.at_work("mine.safetensors", folder, CPU, torch.float32) as second:
            assert second is first

    def test_and_again_when_its_file_was_replaced(self, folder: Path) -> None:
        keeper = HeadKeeper()
        with keeper.at_work("mine.safetensors", folder, CPU, torch.float32) as first:
            pass
        os.utime(folder / "mine.safetensors", ns=(1, 1))
        with keeper.at_work("mine.safetensors", folder, CPU, torch.float32) as second:
            assert second is not first

    def test_or_when_it_computes_in_another_dtype(self, folder: Path) -> None:
        keeper = HeadKeeper()
        for dtype in (torch.float32, torch.float16):
            with keeper.at_work("mine.safetensors", folder, CPU, dtype) as head:
                assert {each.dtype for each in head.parameters()} == {dtype}

    def test_it_leaves_its_device_when_the_work_is_done(self, folder: Path) -> None:
        keeper = HeadKeeper()
        meta = torch.device("meta")
        with (
            pytest.raises(NotImplementedError),  # nothing can be fetched back from there
            keeper.at_work("mine.safetensors", folder, meta, torch.float32) as head,
        ):
            assert {each.device for each in head.parameters()} == {meta}

    def test_it_can_be_forgotten(self, folder: Path) -> None:
        keeper = HeadKeeper()
        with keeper.at_work("mine.safetensors", folder, CPU, torch.float32) as first:
            pass
        keeper.forget()
        with keeper.at_work("mine.safetensors", folder, CPU, torch.float32) as second:
            assert second is not first

    def test_a_damaged_one_is_a_sentence(self, folder: Path) -> None:
        with (
            pytest.raises(CheckpointError, match="expected safetensors in"),
            HeadKeeper().at_work("broken.safetensors", folder, CPU, torch.float32),
        ):
            pass
