"""What callers without types may give: each is taken, or refused in a sentence; nothing hangs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers", reason="the miniature needs the extra `cli`")

from ldznet_core import Segmenter, find_taps, load_head, load_miniature
from ldznet_core.checks import checked_seed, checked_size
from ldznet_core.errors import CheckpointError, InputError, LDZNetError
from ldznet_core.head import Head
from ldznet_core.miniature import Miniature
from ldznet_core.procedure import Procedure
from ldznet_core.whole_files import check_folder


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


@pytest.fixture(scope="module")
def head() -> Any:
    return load_head("miniature-compact")


class TestSeeds:
    @pytest.mark.parametrize("seed", [0, 2**63 - 1, np.int64(2**31 - 1), np.uint8(7)])
    def test_whole_numbers_are_taken(self, seed: Any) -> None:
        assert type(checked_seed(seed)) is int
        assert Procedure(seed=seed).seed == int(seed)

    @pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, None, "0", float("nan")])
    def test_others_are_refused_at_once(self, seed: Any) -> None:
        with pytest.raises(InputError, match="expected a whole seed from 0"):
            checked_seed(seed)
        with pytest.raises(InputError, match="expected a whole seed from 0"):
            Procedure(seed=seed)


@pytest.mark.parametrize("size", [(1,), (5.0, 9.0), 5, (0, 4), "ab"])
def test_sizes_that_are_none_are_refused(size: Any) -> None:
    with pytest.raises(InputError, match="expected masks of at least 1x1 pixels"):
        checked_size(size)


class TestSampling:
    @pytest.mark.parametrize("steps", [2.5, 2.0, True, "2"])
    def test_steps_are_whole(self, miniature: Miniature, steps: Any) -> None:
        with pytest.raises(InputError, match="expected 1 to 1000 steps"):
            miniature.generate("a car", steps=steps)

    @pytest.mark.parametrize("size", [(), (64,), 64, (64.0, 64.0), (64, 65)])
    def test_sides_are_two(self, miniature: Miniature, size: Any) -> None:
        with pytest.raises(InputError, match="expected two sides in multiples of 64 pixels"):
            miniature.generate("a car", size=size)

    @pytest.mark.parametrize("t", [None, "400"])
    def test_timesteps_are_numbers(self, miniature: Miniature, t: Any) -> None:
        with pytest.raises(InputError, match="expected a whole timestep"):
            miniature.probe(torch.zeros(1, 4, 8, 8), ["car"], t=t)

    def test_a_timestep_may_be_a_tensor(self, miniature: Miniature) -> None:
        latents = torch.zeros(1, 4, 8, 8)
        given: Any = torch.tensor(400.0)
        found = miniature.probe(latents, ["car"], t=given)
        assert found.timestep == 400.0
        expected = miniature.probe(latents, ["car"], t=400)
        assert torch.equal(found.blocks[6], expected.blocks[6])


class TestMasksToPaint:
    @pytest.mark.parametrize("mask", [np.full((64, 64), 255, np.uint8), -torch.ones(64, 64)])
    def test_those_beyond_0_and_1_are_refused(self, miniature: Miniature, mask: Any) -> None:
        with pytest.raises(InputError, match="expected a mask from 0 to 1, got"):
            miniature.inpaint(_grey(), mask, "a car", steps=1)

    def test_so_is_one_with_nan(self, miniature: Miniature) -> None:
        with pytest.raises(InputError, match="expected a mask from 0 to 1, got nan"):
            miniature.inpaint(_grey(), torch.full((64, 64), torch.nan), "a car", steps=1)

    @pytest.mark.parametrize("mask", [None, "mask.png"])
    def test_so_is_what_is_none(self, miniature: Miniature, mask: Any) -> None:
        with pytest.raises(InputError, match="expected a mask as a picture, a tensor or an array"):
            miniature.inpaint(_grey(), mask, "a car", steps=1)


class TestLatents:
    @pytest.mark.parametrize("latents", [torch.zeros(1, 4, 0, 8), None, np.zeros((1, 4, 8, 8))])
    def test_those_of_no_picture_are_refused(
        self, miniature: Miniature, head: Head, latents: Any
    ) -> None:
        sentence = r"latents of one picture, \(1, 4, h, w\), got"
        with pytest.raises(InputError, match=sentence):
            miniature.probe(latents, ["car"])
        with pytest.raises(InputError, match=sentence):
            Segmenter(miniature, head).segment_latents(latents, ["car"])


class TestHeads:
    @pytest.mark.parametrize("name", ["miniature", "miniature-compact"])
    def test_empty_features_and_texts_are_refused(self, miniature: Miniature, name: str) -> None:
        head: Any = load_head(name)
        latents, context = torch.zeros(1, 4, 8, 8), miniature.encode_text(["car"])
        blocks = miniature.probe(latents, ["car"]).blocks
        none = {block: feature[:0] for block, feature in blocks.items()}
        flat = {block: feature[0] for block, feature in blocks.items()}
        for given in (none, flat, [*blocks.values()], blocks[6]):
            with pytest.raises(InputError, match=r"expected features (of|and|by) "):
                head(latents, context, given)
        with pytest.raises(InputError, match="expected text features"):
            head(latents, context[:, :0], blocks)

    @pytest.mark.parametrize("dtype", [torch.int8, torch.bool, "float16"])
    def test_a_dtype_to_compute_in_is_wanted(self, dtype: Any) -> None:
        with pytest.raises(InputError, match="expected a dtype to compute in"):
            load_head("miniature-compact", dtype=dtype)

    @pytest.mark.parametrize("device", [None, 1.5])
    def test_a_device_is_wanted(self, device: Any) -> None:
        with pytest.raises(InputError, match="expected a device of this machine"):
            load_head("miniature-compact", device=device)

    @pytest.mark.parametrize("head", ["miniature", None])
    def test_a_name_is_no_head(self, miniature: Miniature, head: Any) -> None:
        with pytest.raises(InputError, match="pass what load_head gives"):
            Segmenter(miniature, head)

    @pytest.mark.parametrize("name", ["head.CKPT", "head.pkl"])
    def test_pickles_are_known_by_any_of_their_endings(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(CheckpointError, match=r"got the pickle .* run `ldznet convert`"):
            load_head(tmp_path / name)

    def test_a_file_of_another_kind_is_not_said_to_be_missing(self, tmp_path: Path) -> None:
        (tmp_path / "mask.png").write_bytes(b"")
        with pytest.raises(CheckpointError, match=r"got .*mask\.png, which is none by its name"):
            load_head(tmp_path / "mask.png")


class TestTaps:
    @pytest.mark.parametrize("blocks", [(7.0,), 99, [], [True]])
    def test_block_numbers_are_wanted(self, miniature: Miniature, blocks: Any) -> None:
        with pytest.raises(InputError, match="expected a list of block numbers from 1 to 16"):
            find_taps(miniature.unet, blocks)

    def test_they_may_come_in_an_array(self, miniature: Miniature) -> None:
        blocks: Any = np.array([7, 6])
        assert list(find_taps(miniature.unet, blocks)) == [6, 7]


def test_a_folder_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.jpg").write_bytes(b"")
    check_folder(tmp_path / "new" / "newer")
    for folder in (tmp_path / "q.jpg", tmp_path / "q.jpg" / "x" / "y"):
        with pytest.raises(LDZNetError, match=r"expected a folder .* got the file .*q\.jpg: name"):
            check_folder(folder)


def _grey() -> Image.Image:
    return Image.new("RGB", (64, 64), "grey")
