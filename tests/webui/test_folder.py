"""A folder of pictures, masked by the miniature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ldznet_core import InputError, UnsupportedModelError
from ldznet_webui.answer import Answer
from ldznet_webui.folder import UNIONS, FolderRun, Step
from ldznet_webui.masking import mask_picture
from ldznet_webui.settings import Settings

from .miniature_host import MiniatureHost

SETTINGS = Settings(phrases=("red car", "owl"), source="probe")

Mask = Callable[[Image.Image], Answer]


@pytest.fixture(scope="module")
def mask(miniature: Any, tmp_path_factory: pytest.TempPathFactory) -> Mask:
    return masking(miniature, tmp_path_factory.mktemp("heads"), SETTINGS)


@pytest.fixture
def pictures(tmp_path: Path, drawings: list[Any]) -> Path:
    """Two pictures, and a file that is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    drawings[0].picture.save(folder / "owl.png")
    drawings[1].picture.save(folder / "car.jpg", quality=95)
    (folder / "notes.txt").write_text("not a picture")
    return folder


def masking(backbone: Any, heads: Path, settings: Settings) -> Mask:
    """Masks by the miniature, who looks at each picture once for all tests."""
    host = MiniatureHost(backbone, heads)
    seen: dict[bytes, Answer] = {}

    def mask(picture: Image.Image) -> Answer:
        pixels = picture.tobytes()
        if pixels not in seen:
            seen[pixels] = host.exclusively(lambda: mask_picture(host, picture, settings))
        return seen[pixels]

    return mask


def run_of(pictures: Path, asked: str = "the same") -> FolderRun:
    return FolderRun(pictures, pictures.parent / "masks", {"asked": asked})


def white(path: Path) -> float:
    return float((np.asarray(Image.open(path)) > 127).mean())


def summary(steps: list[Step]) -> list[tuple[int, int, str, bool]]:
    return [(each.number, each.total, each.path.name, each.overlay is not None) for each in steps]


def test_each_picture_gets_a_folder_of_its_own(pictures: Path, mask: Mask) -> None:
    run = run_of(pictures)
    assert summary(list(run.steps(mask))) == [(1, 2, "car.jpg", True), (2, 2, "owl.png", True)]
    names = {path.name for path in (run.out / "car").iterdir()}
    assert names == {"mask-red-car.png", "mask-owl.png", "overlay.png", "picture.json"}
    assert white(run.out / "car" / "mask-red-car.png") > 0.05
    assert white(run.out / "car" / "mask-owl.png") == 0
    assert white(run.out / "owl" / "mask-owl.png") > 0.05


def test_a_picture_that_is_too_narrow_costs_the_others_nothing(pictures: Path, mask: Mask) -> None:
    Image.new("RGB", (600, 1)).save(pictures / "a.png")
    run = run_of(pictures)
    steps = list(run.steps(mask))
    assert [bool(step.failure) for step in steps] == [True, False, False]
    assert len(run.reports) == 2
    assert run.failed[0]["image"].endswith("a.png")


def test_no_picture_s_folder_takes_the_name_of_what_lies_beside_it(
    pictures: Path, mask: Mask
) -> None:
    (pictures / "owl.png").rename(pictures / "report.json.png")
    (pictures / "car.jpg").rename(pictures / f"{UNIONS}.jpg")
    run = run_of(pictures)
    list(run.steps(mask))
    assert (run.out / "report.json").is_file()
    assert {path.suffix for path in (run.out / UNIONS).iterdir()} == {".png"}
    assert not list(run.out.rglob("*.tmp"))
    modes = {path.stat().st_mode for path in run.out.rglob("*.png")}
    assert len(modes) == 1


def test_img2img_finds_a_mask_of_everything_under_the_pictures_name(
    pictures: Path, mask: Mask
) -> None:
    run = run_of(pictures)
    list(run.steps(mask))
    assert {path.name for path in (run.out / UNIONS).iterdir()} == {"car.png", "owl.png"}
    parts = [np.asarray(Image.open(path)) for path in (run.out / "car").glob("mask-*.png")]
    whole = np.asarray(Image.open(run.out / UNIONS / "car.png"))
    assert np.array_equal(whole, np.maximum(*parts))


def test_the_report_says_what_is_in_each_picture(pictures: Path, mask: Mask) -> None:
    run = run_of(pictures)
    list(run.steps(mask))
    report = json.loads((run.out / "report.json").read_text(encoding="utf-8"))
    found = {
        (each["folder"], phrase["phrase"]): phrase["found"]
        for each in report["pictures"]
        for phrase in each["phrases"]
    }
    assert found == {
        ("car", "red car"): True,
        ("car", "owl"): False,
        ("owl", "red car"): False,
        ("owl", "owl"): True,
    }
    assert report["asked"] == {"asked": "the same"}


def test_masks_are_written_as_they_are_shown(
    pictures: Path, miniature: Any, tmp_path: Path
) -> None:
    treated = Settings(phrases=("red car",), grow=4, feather=3, invert=True, source="probe")
    mask = masking(miniature, tmp_path, treated)
    run = run_of(pictures)
    list(run.steps(mask))
    expected = mask(Image.open(pictures / "car.jpg")).masks()[0]
    written = Image.open(run.out / "car" / "mask-red-car.png")
    assert np.array_equal(np.asarray(written), np.asarray(expected))


def test_what_an_equal_run_has_done_is_left_alone(pictures: Path, mask: Mask) -> None:
    list(run_of(pictures).steps(mask))
    again = run_of(pictures)
    assert [step.overlay for step in again.steps(refuse)] == [None, None]
    assert [report["folder"] for report in again.reports] == ["car", "owl"]


def test_another_question_makes_all_masks_anew(pictures: Path, mask: Mask) -> None:
    list(run_of(pictures).steps(mask))
    steps = list(run_of(pictures, "something else").steps(mask))
    assert all(step.overlay is not None for step in steps)


def test_a_mask_that_was_deleted_is_made_again(pictures: Path, mask: Mask) -> None:
    run = run_of(pictures)
    list(run.steps(mask))
    (run.out / UNIONS / "owl.png").unlink()
    steps = list(run_of(pictures).steps(mask))
    assert summary(steps) == [(1, 2, "car.jpg", False), (2, 2, "owl.png", True)]


def test_who_stops_early_leaves_whole_results(pictures: Path, mask: Mask) -> None:
    run = run_of(pictures)
    steps = run.steps(mask)
    next(steps)
    steps.close()
    report = json.loads((run.out / "report.json").read_text(encoding="utf-8"))
    assert [each["folder"] for each in report["pictures"]] == ["car"]
    assert not (run.out / "owl").exists()


def test_a_damaged_picture_does_not_keep_the_others_from_their_masks(
    pictures: Path, mask: Mask
) -> None:
    (pictures / "broken.png").write_bytes(b"\x89PNG, and then nothing")
    run = run_of(pictures)
    broken, *whole = list(run.steps(mask))
    assert "expected a picture in" in broken.failure
    assert [step.failure for step in whole] == ["", ""]
    assert [each["image"] for each in run.failed] == [str(pictures / "broken.png")]


def test_a_model_that_cannot_mask_ends_the_run(pictures: Path, miniature: Any) -> None:
    host = MiniatureHost("flux", pictures)
    run = run_of(pictures)
    with pytest.raises(UnsupportedModelError):
        list(run.steps(lambda each: host.exclusively(lambda: mask_picture(host, each, SETTINGS))))
    assert not (run.out / "report.json").exists()


@pytest.mark.parametrize("name", ["missing", "pictures/owl.png"])
def test_a_folder_that_is_none_is_named(pictures: Path, name: str) -> None:
    run = FolderRun(pictures.parent / name, pictures.parent / "masks", {})
    with pytest.raises(InputError, match="expected a folder of pictures"):
        list(run.steps(refuse))


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected pictures in the folder"):
        list(FolderRun(tmp_path, tmp_path / "masks", {}).steps(refuse))


def test_results_do_not_go_among_the_pictures(pictures: Path) -> None:
    with pytest.raises(InputError, match="apart from the results"):
        list(FolderRun(pictures, pictures, {}).steps(refuse))


def test_results_do_not_go_into_a_file(pictures: Path) -> None:
    with pytest.raises(InputError, match="got the file"):
        list(FolderRun(pictures, pictures / "owl.png", {}).steps(refuse))


def test_a_disk_that_refuses_is_a_sentence(pictures: Path, mask: Mask) -> None:
    run = run_of(pictures)
    run.out.mkdir()
    (run.out / UNIONS).write_text("in the way")
    with pytest.raises(InputError, match=r"expected to read .* and to write"):
        list(run.steps(mask))


def refuse(picture: Image.Image) -> Answer:
    raise AssertionError("no picture was to be masked")
