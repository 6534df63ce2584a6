"""``ldznet segment`` on Stable Diffusion, on folders, in several runs and in several processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the command line needs the extra `cli`")

from ldznet_core import load_head, save_head
from ldznet_core.backends import Pair
from ldznet_core.cli import main, masking
from ldznet_core.results.folders import MARK
from ldznet_core.world import draw_layout, render

from ..backends.reduced import write_checkpoint, write_head
from ..core.matting import install
from ..core.tiny import picture


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that name a reduced SD 1.x checkpoint and its head."""
    folder = tmp_path_factory.mktemp("models")
    model = write_checkpoint(folder / "sd15.safetensors")
    head = write_head(folder / "head.safetensors", presence_threshold=0.01)
    return ["--model", str(model), "--head", str(head)]


@pytest.fixture(scope="module")
def loaded_once() -> Callable[..., Pair]:
    """The command's loader, which gives what it gave before for the same names."""
    return cache(masking.load_segmenting_pair)


@pytest.fixture(autouse=True)
def quick(loaded_once: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the models of one command line once, however many of its kind are run here."""
    monkeypatch.setattr(masking, "load_segmenting_pair", loaded_once)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures, and of what is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(64, 48, seed=1).save(folder / "one.png")
    picture(48, 64, seed=2).save(folder / "two.jpg")
    picture(64, 64, seed=3).save(folder / "three.webp")
    picture(32, 32, seed=4).save(folder / "one.gif")
    (folder / "notes.txt").write_text("no picture")
    return folder


def segment(*words: object, status: int = 0) -> None:
    assert main(["segment", *map(str, words)]) == status


def report_in(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    return report


def files_in(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


class TestStableDiffusion:
    def test_a_photo_gets_its_masks(self, models: list[str], tmp_path: Path) -> None:
        photo, out = tmp_path / "photo.jpg", tmp_path / "out"
        picture(90, 61).save(photo)
        segment(photo, "--phrase", "cat", "--phrase", "dog", "--out", out, *models)
        (found,) = report_in(out)["pictures"]
        assert (found["source"], found["timestep"]) == ("probe", 400)
        assert {path.name for path in out.iterdir()} == {
            *(phrase["mask"] for phrase in found["phrases"]),
            "overlay.png",
            "report.json",
            MARK,
        }
        with Image.open(out / "mask-cat.png") as mask:
            assert (mask.mode, mask.size) == ("L", (90, 61))
            assert set(np.unique(np.asarray(mask))) <= {0, 255}

    def test_without_a_head_for_it_attention_is_read(
        self, models: list[str], tmp_path: Path
    ) -> None:
        photo, out = tmp_path / "photo.png", tmp_path / "out"
        picture(64, 64).save(photo)
        segment(photo, "--phrase", "cat", "--out", out, *models[:2])
        assert report_in(out)["head"] == "training-free"

    def test_every_way_to_look_gives_masks_of_its_own(
        self, models: list[str], tmp_path: Path
    ) -> None:
        photo = tmp_path / "photo.png"
        picture(90, 61).save(photo)
        ways = {
            "plain": [],
            "again": [],
            "timesteps": ["--timestep", "350", "--timestep", "450"],
            "template": ["--template", "a photo of a {}."],
            "seed": ["--seed", "1"],
            "chance": ["--official-randomness"],
            "other chance": ["--official-randomness", "--seed", "1"],
        }
        masks = {}
        for way, words in ways.items():
            out = tmp_path / way
            segment(photo, "--phrase", "cat", "--out", out, *models, *words)
            masks[way] = (out / "mask-cat.png").read_bytes()
        assert masks["plain"] == masks["again"]
        assert len(set(masks.values())) == len(ways) - 1
        assert report_in(tmp_path / "seed")["procedure"]["seed"] == 1

    def test_what_is_absent_is_written_where_asked_and_reported_as_absent(
        self, tmp_path: Path
    ) -> None:
        scene, found = tmp_path / "scene.png", {}
        Image.fromarray(render(draw_layout("small", "iid", 0), 128).image).save(scene)
        for way, words in {"plain": [], "kept": ["--keep-absent"]}.items():
            out = tmp_path / way
            segment(scene, "--phrase", "a submarine", "--out", out, *words)
            mask = np.asarray(Image.open(out / "mask-a-submarine.png"))
            (told,) = report_in(out)["pictures"][0]["phrases"]
            found[way] = (bool(mask.any()), told["found"], told["score"])
        score = found["plain"][2]
        assert found == {"plain": (False, False, score), "kept": (True, False, score)}

    def test_bfloat16_and_official_sizes_work(self, tmp_path: Path, models: list[str]) -> None:
        photo = tmp_path / "photo.png"
        picture(64, 64).save(photo)
        words = ["--preprocess", "official", "--dtype", "bfloat16", "--device", "cpu"]
        segment(photo, "--phrase", "cat", "--out", tmp_path / "out", *models, *words)
        assert report_in(tmp_path / "out")["procedure"]["preprocess"] == "official"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--head", "miniature"], "expected a head for 'sd1', got one for 'miniature'"),
            (["--preprocess", "official"], "official sizes leave"),
            (["--device", "quantum"], "expected a device of this machine"),
            (["--timestep", "1000"], "0 to 999"),
            (["--template", "photo"], "one {} in the template"),
            (["--official-randomness", "--timestep", "400"], "got both"),
            (["--phrase", "cat " * 80], "77 tokens"),
            (["--model", "sd15.ckpt"], "the pickle sd15.ckpt"),
            (["--model", "gone.safetensors"], "which is not there"),
            (["--model", "miniature", "--dtype", "float16"], "expected float32"),
            (["--model", "miniature", "--head", "miniature", "--official-randomness"], "sampled"),
        ],
    )
    def test_what_cannot_be_done_is_a_sentence_and_leaves_nothing(
        self,
        words: list[str],
        message: str,
        models: list[str],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        photo = tmp_path / "photo.png"
        picture(90, 30).save(photo)
        segment(photo, "--phrase", "cat", "--out", tmp_path / "out", *models, *words, status=2)
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("ldznet: error: expected ")
        assert message in last
        assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


class TestSnapping:
    @pytest.fixture
    def scene(self, tmp_path: Path) -> Path:
        """A red car in a meadow."""
        file = tmp_path / "scene.png"
        Image.fromarray(render(draw_layout("small", "iid", 3), 128).image).save(file)
        return file

    def test_masks_are_snapped_and_scores_stay(
        self, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        solver = install(monkeypatch)
        words = ["--phrase", "red car", "--head", "training-free", "--json"]
        plain, snapped = tmp_path / "plain", tmp_path / "snapped"
        segment(scene, *words, "--out", plain)
        assert solver.trimaps == []
        segment(scene, *words, "--out", snapped, "--snap")
        assert len(solver.trimaps) == 1
        masks = [each / "mask-red-car.png" for each in (plain, snapped)]
        assert masks[0].read_bytes() != masks[1].read_bytes()
        found = [report_in(each)["pictures"][0]["phrases"][0] for each in (plain, snapped)]
        assert found[0]["score"] == found[1]["score"]
        assert found[0]["area"] != found[1]["area"]

    def test_a_run_that_resumes_does_not_take_other_masks_for_snapped_ones(
        self, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        solver = install(monkeypatch)
        words = ["--phrase", "the red car", "--resume", "--out", tmp_path / "out"]
        for further, snapped in ([], 0), (["--snap"], 1), (["--snap"], 1):
            segment(scene, *words, *further)
            assert len(solver.trimaps) == snapped

    def test_without_its_package_nothing_is_looked_at(
        self,
        scene: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(sys.modules, "pymatting", None)
        out = tmp_path / "out"
        segment(scene, "--phrase", "the red car", "--snap", "--out", out, status=2)
        assert "-m pip install -U pymatting" in capsys.readouterr().err
        assert not out.exists()


class TestManyPictures:
    def test_a_folder_has_a_folder_for_each_of_its_pictures(
        self, pictures: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        segment(pictures, "--phrase", "owl", "--out", out)
        found = report_in(out)["pictures"]
        assert [each["folder"] for each in found] == ["one", "one-2", "three", "two"]
        assert all((out / each["folder"] / "mask-owl.png").is_file() for each in found)

    def test_company_changes_no_mask(
        self, pictures: Path, models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(masking, "_PROBES_PER_TURN", 4)  # two pictures a turn
        words = ["--phrase", "owl", "--phrase", "cat", *models]
        segment(pictures, *words, "--out", tmp_path / "all")
        segment(pictures / "two.jpg", *words, "--out", tmp_path / "alone")
        for name in ("mask-owl.png", "overlay.png"):
            alone = (tmp_path / "alone" / name).read_bytes()
            assert (tmp_path / "all" / "two" / name).read_bytes() == alone

    def test_a_damaged_one_does_not_keep_the_others_from_their_masks(
        self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (pictures / "three.webp").write_bytes(b"damaged")
        segment(pictures, "--phrase", "owl", "--out", tmp_path / "out", status=2)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "three.webp" in error
        assert "(1 of 4 pictures failed)" in error
        report = report_in(tmp_path / "out")
        assert len(report["pictures"]) == 3
        assert report["failed"][0]["image"].endswith("three.webp")

    @pytest.mark.parametrize("name", ["empty", "pictures"])
    def test_a_folder_without_pictures_of_its_own_is_refused(
        self, name: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "empty").mkdir()
        segment(tmp_path / name, "--phrase", "owl", "--out", pictures, status=2)
        assert "expected pictures in the folder" in capsys.readouterr().err

    def test_a_large_picture_has_masks_of_its_own_size(
        self, tmp_path: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        picture(150, 100).save(tmp_path / "x.jpg")
        segment(tmp_path / "x.jpg", "--phrase", "cat", "--out", tmp_path / "whole", *models)
        monkeypatch.setattr(masking, "MASK_PIXELS", 5000)
        segment(tmp_path / "x.jpg", "--phrase", "cat", "--out", tmp_path / "small", *models)
        masks = []
        for out in ("whole", "small"):
            with Image.open(tmp_path / out / "mask-cat.png") as mask:
                assert (mask.mode, mask.size) == ("L", (150, 100))
                masks.append(np.asarray(mask))
        assert set(np.unique(masks[1])) <= {0, 255}
        # A random head's masks are nearly noise; those of chance would agree in half of the pixels.
        assert (masks[0] == masks[1]).mean() > 0.7


class TestResume:
    @pytest.fixture
    def done(self, pictures: Path, tmp_path: Path) -> Path:
        out = tmp_path / "out"
        segment(pictures, "--phrase", "owl", "--out", out)
        return out

    def test_what_is_done_is_not_done_again(
        self, done: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = files_in(done)
        (done / "report.json").unlink()
        monkeypatch.setattr(masking, "load_segmenting_pair", never)
        segment(pictures, "--phrase", "owl", "--out", done, "--resume")
        assert files_in(done) == before

    @pytest.mark.parametrize("lost", ["mask-owl.png", "overlay.png", MARK])
    def test_what_is_not_whole_is_done_again(
        self, lost: str, done: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = files_in(done)
        (done / "two" / lost).unlink()
        written = remember_writes(monkeypatch)
        segment(pictures, "--phrase", "owl", "--out", done, "--resume")
        assert written == ["two"]
        assert files_in(done) == before

    @pytest.mark.parametrize(
        "other",
        [["--phrase", "car"], ["--negative", "car"], ["--seed", "3"], ["--threshold", "0.4"]],
    )
    def test_another_question_is_answered_anew(
        self, other: list[str], done: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = remember_writes(monkeypatch)
        segment(pictures, "--phrase", "owl", *other, "--out", done, "--resume")
        assert len(written) == 4

    def test_a_changed_picture_is_done_again(
        self, done: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        picture(40, 40, seed=9).save(pictures / "two.jpg")
        written = remember_writes(monkeypatch)
        segment(pictures, "--phrase", "owl", "--out", done, "--resume")
        assert written == ["two"]

    def test_a_head_that_was_trained_anew_looks_anew(
        self, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stem, out = tmp_path / "mine" / "head", tmp_path / "out"
        words = ["--phrase", "owl", "--head", stem, "--out", out, "--resume"]
        head = load_head("miniature-compact")
        save_head(head, stem)
        segment(pictures, *words)
        written = remember_writes(monkeypatch)
        segment(pictures, *words)
        assert written == []
        head.config = replace(head.config, mask_threshold=0.9)
        save_head(head, stem)
        segment(pictures, *words)
        assert len(written) == 4

    def test_an_interrupt_leaves_whole_pictures_only(
        self, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        written = remember_writes(monkeypatch, interrupted_in="three")
        segment(pictures, "--phrase", "owl", "--out", out, status=130)
        assert {path.name for path in out.iterdir()} == {"one", "one-2"}
        assert all((out / name / MARK).is_file() for name in ("one", "one-2"))
        monkeypatch.undo()
        written = remember_writes(monkeypatch)
        segment(pictures, "--phrase", "owl", "--out", out, "--resume")
        assert written == ["three", "two"]
        assert len(report_in(out)["pictures"]) == 4


@pytest.mark.slow
def test_processes_share_the_pictures_and_report_as_one(pictures: Path, tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    segment(pictures, "--phrase", "owl", "--out", alone)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    words = ["-m", "ldznet_core", "segment", str(pictures), "--phrase", "owl"]
    done = subprocess.run(
        [*launcher, *words, "--out", str(shared)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = report_in(shared), report_in(alone)
    assert ours["pictures"] == theirs["pictures"]
    shutil.rmtree(shared / "two")
    assert (shared / "one-2" / "mask-owl.png").is_file()


def never(*inputs: object) -> None:
    raise AssertionError("no model was needed")


def remember_writes(
    monkeypatch: pytest.MonkeyPatch, interrupted_in: str | None = None
) -> list[str]:
    """The folders that are written to from now on; one of them may be interrupted half-way."""
    written: list[str] = []
    write = masking.write_result

    def remember(folder: Path, *rest: Any) -> Any:
        if folder.name == interrupted_in:
            monkeypatch.setattr(Image.Image, "save", interrupt)
        report = write(folder, *rest)
        written.append(folder.name)
        return report

    monkeypatch.setattr(masking, "write_result", remember)
    return written


def interrupt(*inputs: object) -> None:
    raise KeyboardInterrupt
