"""``ldznet study`` as users meet it: a page with its figures, and single sentences."""

import json
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("accelerate", reason="a study needs the extra `train`")

from ldznet_core.cli import main

SMALL = ["study", "--table", "blocks", "--seeds", "1", "--scenes", "8", "--steps", "2"]
SMALL += ["--batch", "2", "--held-out", "2", "--side", "64", "--pool", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a study with one finished cell, and its page."""
    folder = tmp_path_factory.mktemp("study")
    words = ["--only", "compact-best", "--budget-minutes", "10", "--out", str(folder / "page.md")]
    assert main([*SMALL, "--folder", str(folder), *words]) == 0
    return folder


def test_a_page_has_its_figures_and_its_chart_beside_it(folder: Path) -> None:
    page = (folder / "page.md").read_text("utf-8")
    figures = json.loads((folder / "page.json").read_text("utf-8"))
    (cell,) = figures["cells"]
    miou = cell["splits"]["gen"]["things_miou"]
    assert f" {miou:.3f} |\n" in page
    assert "1 of 6 trainings are finished" in page
    assert "![Things' mIoU](page.png)" in page
    with Image.open(folder / "page.png") as picture:
        assert min(picture.size) > 300


def test_without_minutes_it_reports_what_is_finished(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, "--folder", str(folder)]) == 0
    assert "| 8 | compact, blocks 3, 4, 11-13 | 1 |" in capsys.readouterr().out


def test_what_an_earlier_page_tells_need_not_be_done_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--folder", str(tmp_path), "--known", str(folder / "page.json")]
    assert main([*SMALL, *words, "--json"]) == 0
    (cell,) = json.loads(capsys.readouterr().out)["cells"]
    assert cell == json.loads((folder / "page.json").read_text("utf-8"))["cells"][0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--known", "page.md"], "name the JSON file that --out wrote"),
        (["--known", "none.json"], "name the JSON file that --out wrote"),
        (["--known", "page.json", "--steps", "3"], "give the same flags"),
    ],
)
def test_figures_that_do_not_fit_are_refused_before_anything_is_written(
    words: list[str],
    sentence: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert main([*SMALL, "--folder", str(tmp_path / "new"), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--steps", "3"], "(steps 2), got others"),
        (["--only", "znet"], "change --only or --table"),
        (["--scenes", "8,many"], "change --scenes"),
        (["--side", "65"], "multiples of 64"),
        (["--scenes", "9"], "expected at most 8 scenes"),
        (["--folder", "nowhere"], "begin one with --budget-minutes"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    words: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, "--folder", str(folder), *words]) == 2
    assert sentence in capsys.readouterr().err
