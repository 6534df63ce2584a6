"""Masks on a sheet, chosen by their IoU and by nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.cli import main
from ldznet_core.evaluation.cases import Case, cases
from ldznet_core.evaluation.masks import MaskFigures, evaluate_masks
from ldznet_core.evaluation.pictures.ranked import ranked_parts
from ldznet_core.evaluation.pictures.rows import Part, Row, sheet_of

COUNT = 5


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(load_miniature(), load_head("miniature-compact"))


@pytest.fixture(scope="module")
def asked() -> list[Case]:
    return list(cases("small", "comb", COUNT, 128))


@pytest.fixture(scope="module")
def figures(segmenter: Segmenter, asked: list[Case]) -> MaskFigures:
    return evaluate_masks(segmenter, asked)


@pytest.fixture(scope="module")
def parts(segmenter: Segmenter, asked: list[Case]) -> list[Part]:
    return ranked_parts(segmenter, asked)


def ious(part: Part) -> list[float]:
    return [float(re.findall(r"IoU ([\d.]+)", row.label)[0]) for row in part.rows]


def test_best_median_and_worst_are_those_of_the_evaluation(
    parts: list[Part], figures: MaskFigures
) -> None:
    best, median, worst, denied, _ = parts
    every = sorted((round(each.iou, 2) for each in figures.things), reverse=True)
    found = every[: len(every) - int(re.findall(r"\d+", denied.title)[0])]
    assert ious(best) == found[:3]
    assert ious(worst) == found[-3:]
    assert found[len(found) // 2] in ious(median)


def test_errors_of_presence_are_counted(parts: list[Part], figures: MaskFigures) -> None:
    believed = parts[-1]
    wrong = figures.rejected_absent.count(False)
    assert believed.title.endswith(f"{wrong} of {len(figures.rejected_absent)}")
    assert len(believed.rows) == min(wrong, 3)


def test_each_row_shows_its_picture_its_truth_and_what_the_head_gave(parts: list[Part]) -> None:
    picture, truth, soft, mask = parts[0].rows[0].pictures
    assert picture.mode == "RGB"
    assert set(np.unique(truth)) == set(np.unique(mask)) == {0, 255}
    assert len(np.unique(soft)) > 20


def test_a_painted_scene_is_shown_as_it_was_painted(
    segmenter: Segmenter, asked: list[Case]
) -> None:
    scene = asked[0].scene.image.astype(int)
    parts = ranked_parts(segmenter, asked[:1], painter=load_miniature())
    shown = [row.pictures[0] for part in parts for row in part.rows]
    assert shown
    for picture in shown:
        assert 2 < np.abs(np.asarray(picture).astype(int) - scene).mean() < 60


def test_parts_stand_two_in_a_line() -> None:
    row = Row("one", (Image.new("RGB", (128, 128), "red"),))
    parts = [Part("a", ("b",), (row,)), Part("a", ("b",), (row, row)), Part("a", ("b",), ())]
    sheet = np.asarray(sheet_of(parts))
    is_red = (sheet == (255, 0, 0)).all(axis=2)
    assert is_red.sum() == 3 * 128 * 128
    assert is_red[:, : sheet.shape[1] // 2].sum() == 128 * 128


def test_the_command_draws_a_sheet(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "ranked.png"
    assert main(["evaluate", "--what", "ranked-sheet", "--count", "1", "--out", str(out)]) == 0
    with Image.open(out) as sheet:
        assert sheet.width > 4 * 128
