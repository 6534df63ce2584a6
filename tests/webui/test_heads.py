"""The heads that can be chosen, and the one in memory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ldznet_core import (
    CheckpointError,
    HeadConfig,
    InputError,
    LDZNetHead,
    UnsupportedModelError,
    read_config,
    save_head,
)
from ldznet_core.capture import LATE
from ldznet_core.checkpoint import BUILT_IN
from ldznet_core.training_free import TrainingFree
from ldznet_webui.heads import HeadKeeper, choose_head, list_heads, wanted_by

from ..core.tiny import HEAD_SIZES, tiny_head

CPU = torch.device("cpu")
NAMELESS = (".safetensors", "-1of2.safetensors")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head in one file, a head in several, and a file that is none; tests take copies."""
    folder = tmp_path_factory.mktemp("heads")
    save_head(tiny_head(), folder / "mine", max_shard_bytes=None)
    save_head(tiny_head(), folder / "deep" / "split", max_shard_bytes=10 * 2**20)
    (folder / "broken.safetensors").write_bytes(b"nonsense")
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path, dirs_exist_ok=True))


def test_built_in_heads_come_first_and_shards_are_one_head(folder: Path) -> None:
    assert list_heads(folder) == [
        *BUILT_IN,
        "training-free",
        "broken.safetensors",
        "deep/split.safetensors",
        "mine.safetensors",
    ]


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert list_heads(tmp_path / "gone") == [*BUILT_IN, "training-free"]


class TestChoosing:
    def test_auto_takes_the_first_that_fits_the_family(self, folder: Path) -> None:
        assert choose_head("auto", "miniature", folder) == "miniature-compact"
        assert choose_head("auto", "tiny", folder) == "deep/split.safetensors"

    def test_auto_goes_without_where_none_fits(self, folder: Path, tmp_path: Path) -> None:
        assert choose_head("auto", "sd1", folder) == "training-free"
        assert choose_head("auto", "sd1", tmp_path / "gone") == "training-free"

    def test_auto_prefers_any_that_was_trained(self, folder: Path) -> None:
        trained = LDZNetHead(HeadConfig(family="sd1", unet=HEAD_SIZES, image_side=64))
        save_head(trained, folder / "z", max_shard_bytes=None)
        assert choose_head("auto", "sd1", folder) == "z.safetensors"

    def test_none_is_a_name_too(self, folder: Path) -> None:
        assert choose_head("training-free", "miniature", folder) == "training-free"

    def test_a_name_is_taken_as_it_is(self, folder: Path) -> None:
        assert choose_head("mine.safetensors", "tiny", folder) == "mine.safetensors"

    def test_a_trained_head_of_another_family_is_a_sentence(self, folder: Path) -> None:
        with pytest.raises(UnsupportedModelError) as caught:
            choose_head("mine.safetensors", "sdxl", folder)
        assert str(caught.value) == (
            "expected a head for sdxl, as the checkpoint is, got mine.safetensors, which is for "
            "tiny: choose auto or training-free"
        )

    def test_a_damaged_file_is_told_when_it_is_loaded(self, folder: Path) -> None:
        assert choose_head("broken.safetensors", "sd1", folder) == "broken.safetensors"

    @pytest.mark.parametrize("name", ["../x", "/etc/passwd", "mine", "gone.safetensors", "x" * 500])
    def test_other_names_are_refused_and_never_opened(self, folder: Path, name: str) -> None:
        with pytest.raises(
            InputError, match="expected one of the heads auto, miniature-compact"
        ) as caught:
            choose_head(name, "tiny", folder)
        assert len(str(caught.value)) < 400
        assert str(caught.value).endswith(f": put the file into {folder}")


class TestListening:
    @pytest.mark.parametrize("name", ["mine.safetensors", *BUILT_IN])
    def test_a_trained_head_listens_at_its_own_taps(
        self, folder: Path, miniature: Any, name: str
    ) -> None:
        wanted = wanted_by(name, "miniature", folder)
        config = read_config(BUILT_IN.get(name, folder / name))
        assert tuple(wanted.taps_of(miniature.unet)) == config.taps
        assert wanted.aim.takes(config.timestep)

    def test_one_that_reads_no_features_listens_nowhere(self, folder: Path, miniature: Any) -> None:
        config = HeadConfig(family="tiny", unet=HEAD_SIZES, taps=())
        save_head(LDZNetHead(config), folder / "deaf.safetensors")
        assert wanted_by("deaf.safetensors", "tiny", folder).taps_of(miniature.unet) == {}

    def test_of_a_damaged_file_is_a_sentence(self, folder: Path) -> None:
        with pytest.raises(CheckpointError, match="broken"):
            wanted_by("broken.safetensors", "sd1", folder)

    def test_without_one_attention_is_listened_to(self, folder: Path, miniature: Any) -> None:
        wanted = wanted_by("training-free", "miniature", folder)
        parts = {place.part for place in wanted.taps_of(miniature.unet)}
        assert parts == {"words.query", "links.query", "links.key"}
        assert wanted.aim == LATE

    def test_of_a_family_that_nobody_knows_is_a_sentence(self, folder: Path) -> None:
        with pytest.raises(UnsupportedModelError, match="its attention cannot be read yet"):
            wanted_by("training-free", "flux", folder)


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

    def test_none_weighs_nothing_and_lets_the_last_one_stay(self, folder: Path) -> None:
        keeper = HeadKeeper()
        with keeper.at_work("mine.safetensors", folder, CPU, torch.float32) as first:
            pass
        with keeper.at_work("training-free", folder, CPU, torch.float32) as none:
            assert isinstance(none, TrainingFree)
        with keeper.at_work("mine.safetensors", folder, CPU, torch.float32) as second:
            assert second is first

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


def test_files_that_are_nothing_but_an_ending_are_passed_over(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "heads"
    shutil.copytree(saved, folder)
    listed = list_heads(folder)
    for name in NAMELESS:
        (folder / name).touch()
    assert list_heads(folder) == listed
    assert choose_head("mine.safetensors", "tiny", folder) == "mine.safetensors"
