"""`ldznet evaluate --what protocols` as users meet it: several splits of our own, in tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the command line needs the extra `cli`")

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.cli import main
from ldznet_core.evaluation.cases import cases
from ldznet_core.evaluation.data.measure import measure_cases
from ldznet_core.evaluation.data.report import as_markdown

WORDS = ["evaluate", "--what", "protocols", "--head", "miniature-compact"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one evaluation."""
    out = tmp_path_factory.mktemp("protocols") / "figures.json"
    words = ["--split", "iid, gen", "--count", "2", "--threshold", "0.4", "--out", str(out)]
    assert main([*WORDS, *words]) == 0
    return out


def test_the_figures_come_as_json_markdown_and_picture(out: Path) -> None:
    report = json.loads(out.read_text("utf-8"))["data"]
    assert list(report["splits"]) == ["iid", "gen"]
    assert "first 2 scenes" in report["data"]
    assert out.with_suffix(".md").read_text("utf-8") == as_markdown(report) + "\n"
    assert out.with_suffix(".md").read_text("utf-8").count("at t = 0.4;") == 2
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.height > picture.width  # two splits, one above the other


def test_gen_is_painted_anew_and_iid_is_not(out: Path) -> None:
    miniature = load_miniature()
    segmenter = Segmenter(miniature, load_head("miniature-compact"))
    splits = json.loads(out.read_text("utf-8"))["data"]["splits"]
    for name, painter in (("iid", None), ("gen", miniature)):
        shown = cases("small", "iid", 2, 128)
        expected = asdict(measure_cases(segmenter, shown, 0.4, painter))
        assert splits[name] == json.loads(json.dumps(expected))


def test_the_tables_are_printed_with_the_head_s_own_threshold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*WORDS, "--count", "1"]) == 0
    printed = capsys.readouterr().out
    threshold = load_head("miniature-compact").config.mask_threshold
    assert f"mIoU at {threshold:g}" in printed
    assert printed.count("| iid |") == 4  # one split: PhraseCut's protocol has two lines


@pytest.mark.parametrize("splits", ["iid,nowhere", "", "iid,,gen", "caption-only"])
def test_a_split_that_there_is_not_is_refused_before_work(
    splits: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ldznet_core.cli.evaluate.load_models", None)  # no work is begun
    assert main([*WORDS, "--split", splits]) == 2
    assert "choose" in capsys.readouterr().err
