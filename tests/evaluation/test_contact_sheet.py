"""Unselected prompts on a sheet: what is asked of each picture, and what is painted into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.cli import main
from ldznet_core.evaluation.pictures.contact_sheet import Row, contact_sheet, make_rows
from ldznet_core.world import draw_layout

STEPS = 8


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    miniature = load_miniature()
    segmenter = Segmenter(miniature, load_head("miniature"))
    return make_rows(miniature, segmenter, "small", 3, STEPS, 5.0)


def test_the_first_thing_is_asked_for_first_and_something_absent_last(rows: list[Row]) -> None:
    for index, row in enumerate(rows):
        names = [thing.name for thing in draw_layout("small", "iid", index).things]
        assert names[0] in row.masks.phrases[0]
        assert not any(name in row.masks.phrases[-1] for name in names)
        assert names[0] in row.prompt


def test_what_is_found_becomes_another_thing_and_the_rest_stays(rows: list[Row]) -> None:
    found = [row for row in rows if row.masks.found[0]]
    assert found
    for row in found:
        assert row.repainted is not None
        first = row.masks.phrases[0].split()[-1]
        assert first not in row.repainted.prompt
        before, after = (np.asarray(each, int) for each in (row.picture, row.repainted.picture))
        changed = np.abs(before - after).max(axis=2) > 0
        inside = row.masks.masks[0].numpy() > 0.5
        assert changed[inside].mean() > 0.5
        assert not changed.all()


def test_what_is_not_found_is_not_repainted(rows: list[Row]) -> None:
    for row in rows:
        assert (row.repainted is None) == (not row.masks.found[0])


def test_a_sheet_has_a_cell_for_each(rows: list[Row]) -> None:
    sheet = contact_sheet(rows)
    assert sheet.width > 4 * 3 * 128
    assert 256 < sheet.height < 500


def test_the_command_draws_it(tmp_path: Path) -> None:
    out = tmp_path / "sheet.webp"
    words = ["evaluate", "--what", "sheet", "--samples", "1", "--steps", "3", "--out", str(out)]
    assert main(words) == 0
    with Image.open(out) as sheet:
        assert sheet.format == "WEBP"
