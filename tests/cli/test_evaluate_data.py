"""`ldznet evaluate --data` as users meet it: tables, files and sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the command line needs the extra `cli`")

from ldznet_core.cli import main
from ldznet_core.evaluation.cases import cases
from ldznet_core.evaluation.data.report import DataReport, as_markdown, draw_curves
from ldznet_core.metrics.phrasecut import ACCURACIES

from ..backends.reduced import write_checkpoint, write_head
from ..core.tiny import picture


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few composed scenes of two splits, written as lines of JSON."""
    folder = tmp_path_factory.mktemp("scenes")
    for split, count in (("iid", 3), ("comb", 1)):
        lines = []
        for number, case in enumerate(cases("small", split, count, 128)):
            image = f"{split}-{number}.png"
            Image.fromarray(case.scene.image).save(folder / image)
            for index, phrase in enumerate(case.phrases):
                mask = f"{split}-{number}-{index}.png"
                pixels = case.mask(phrase).astype(np.uint8) * 255
                Image.fromarray(pixels).save(folder / mask)
                answer = {"absent": True} if phrase.is_absent else {"mask": mask}
                lines.append(json.dumps({"image": image, "phrase": phrase.text, **answer}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def out(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one evaluation."""
    out = tmp_path_factory.mktemp("out") / "new" / "figures.json"
    words = ["evaluate", "--data", str(scenes), "--format", "jsonl", "--split", "iid,comb"]
    assert main([*words, "--out", str(out)]) == 0
    return out


def report_of(out: Path) -> DataReport:
    report: DataReport = json.loads(out.read_text("utf-8"))["data"]
    return report


def lines_of(markdown: str, heading: str) -> list[list[str]]:
    """The cells below a table's heading that begins so."""
    table = markdown[markdown.index(heading) :].partition("\n\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_the_figures_come_as_json_markdown_and_picture(out: Path) -> None:
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "figures.json",
        "figures.md",
        "figures.png",
    ]
    assert out.with_suffix(".md").read_text("utf-8") == as_markdown(report_of(out)) + "\n"


def test_each_split_has_its_line_in_each_table(out: Path) -> None:
    report = report_of(out)
    markdown = out.with_suffix(".md").read_text("utf-8")
    for heading, times in (("CLIPSeg's", 1), ("PhraseCut's", 2), ("Calibration", 1)):
        splits = [line[0] for line in lines_of(markdown, heading)]
        assert splits == [name for name in ("iid", "comb") for _ in range(times)]
    assert list(report["splits"]) == ["iid", "comb"]


def test_tables_say_what_the_figures_say(out: Path) -> None:
    figures = report_of(out)["splits"]["iid"]
    markdown = out.with_suffix(".md").read_text("utf-8")
    clipseg = lines_of(markdown, "CLIPSeg's")[0]
    assert clipseg[2] == f"{100 * figures['clipseg']['fixed']['miou']:.1f}"
    best = figures["clipseg"]["best_iou_fg"]
    assert clipseg[6] == f"{100 * best['value']:.1f} ({best['threshold']:.2f})"
    phrasecut = lines_of(markdown, "PhraseCut's")
    assert phrasecut[0][4] == f"{100 * figures['every_mask']['mean_iou']:.1f}"
    assert phrasecut[1][3] == str(figures["found_masks"]["missing"])
    assert phrasecut[0][6:] == [f"{100 * share:.1f}" for share in figures["every_mask"]["accuracy"]]
    assert len(phrasecut[0][6:]) == len(ACCURACIES)


def test_the_threshold_stands_with_both_protocols(out: Path) -> None:
    markdown = out.with_suffix(".md").read_text("utf-8")
    threshold = report_of(out)["splits"]["iid"]["clipseg"]["threshold"]
    assert markdown.count(f"at t = {threshold:g};") == 2
    assert f"mIoU at {threshold:g}" in markdown


def test_the_picture_has_two_panels_for_each_split(out: Path) -> None:
    with Image.open(out.with_suffix(".png")) as picture:
        both = np.asarray(picture)
    report = report_of(out)
    one = np.asarray(draw_curves({**report, "splits": {"iid": report["splits"]["iid"]}}))
    assert both.shape == (2 * one.shape[0], one.shape[1], 3)
    assert (both[: one.shape[0]] == one).all()
    assert (both[one.shape[0] :] != one).any()


def test_the_command_prints_the_tables(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--data", str(scenes), "--format", "jsonl", "--split", "comb"]
    assert main([*words, "--limit", "2", "--threshold", "0.3"]) == 0
    printed = capsys.readouterr().out
    assert "the first 2 phrases" in printed
    assert lines_of(printed, "CLIPSeg's")[0][1] == "2"
    assert "mIoU at 0.3" in printed


def test_it_can_do_without_a_trained_head(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--data", str(scenes), "--format", "jsonl", "--split", "comb"]
    assert main([*words, "--limit", "2", "--head", "training-free", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["data"]
    assert report["head"] == "training-free"
    assert report["splits"]["comb"]["clipseg"]["phrases"] == 2


def test_models_of_stable_diffusion_are_measured_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, head = write_checkpoint(tmp_path / "sd.safetensors"), write_head(tmp_path / "head")
    (tmp_path / "images").mkdir()
    picture(80, 48, seed=1).save(tmp_path / "images" / "5.jpg")
    corners = [[10, 10], [40, 10], [40, 30]]
    info = [{"image_id": 5, "height": 48, "width": 80, "split": "test"}]
    task = {"task_id": "5__0", "image_id": 5, "phrase": "red car", "Polygons": [[corners]]}
    (tmp_path / "image_data_split.json").write_text(json.dumps(info), encoding="utf-8")
    (tmp_path / "refer_test.json").write_text(json.dumps([task]), encoding="utf-8")
    words = ["evaluate", "--data", str(tmp_path), "--format", "phrasecut", "--device", "cpu"]
    assert main([*words, "--model", str(model), "--head", str(head), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["data"]["splits"]["test"]
    assert figures["side"] == 64
    assert figures["pixels"]["count"] == 64 * 64
    assert (figures["every_mask"]["phrases"], figures["left_out"]) == (1, 0)


BAD = {
    "no such folder": (["--data", "gone"], "expected a data set at gone"),
    "no such split": (["--data", ".", "--format", "jsonl"], "test.jsonl"),
    "another format": (["--data", ".", "--format", "coco"], "--format"),
    "nothing of PhraseCut": (["--data", ".", "--format", "phrasecut"], "image_data_split.json"),
    "a negative limit": (["--data", ".", "--limit", "-1"], "at least 1 phrase"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_words_end_in_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("ldznet: error: ")
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
    assert captured.out == ""
    assert not list(tmp_path.iterdir())
