"""``ldznet evaluate``: what would fail at the end is refused at the beginning, nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ldznet_core import load_head
from ldznet_core.checkpoint import encode_config, read_config
from ldznet_core.cli import main
from ldznet_core.conversion import PROVENANCE_KEY
from ldznet_core.weights import read_metadata, read_weights, write_weights

REFUSED = {
    "a folder for the figures": (["--what", "masks", "--out", "."], "got the folder ."),
    "a folder below a file": (["--what", "masks", "--out", "file/x.json"], "got the file"),
    "a folder for a sheet": (["--what", "ranked-sheet", "--out", "."], "got the folder ."),
    "calibration of no head by name": (["--what", "calibration"], 'got "auto": name a trained'),
    "pictures painted anew for prompts": (["--what", "whole-prompt", "--split", "gen"], "got gen"),
    "pictures painted anew for edges": (["--what", "edges", "--split", "gen"], "got gen"),
    "calibration on a data set": (
        ["--what", "calibration", "--head", "miniature", "--data", "."],
        "expected masks to be measured on a data set",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_fail_at_the_end_is_refused_at_the_beginning(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr("ldznet_core.cli.evaluate.load_models", None)  # no work is begun
    words, message = REFUSED[name]
    assert main(["evaluate", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_sheet_may_have_a_name_without_an_ending(tmp_path: Path) -> None:
    words = ["evaluate", "--what", "ranked-sheet", "--count", "1", "--out", str(tmp_path / "sheet")]
    assert main(words) == 0
    assert (tmp_path / "sheet").read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["sheet"]


def test_the_vae_is_measured_on_the_scenes_that_are_painted_anew(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = []
    for split in ("gen", "iid"):
        words = ["evaluate", "--what", "vae", "--count", "1", "--split", split, "--json"]
        assert main(words) == 0
        figures.append(json.loads(capsys.readouterr().out)["vae"])
    assert figures[0] == figures[1]


class TestCalibration:
    @pytest.fixture
    def head(self, tmp_path: Path) -> Path:
        """A head in one file of float32, as somebody may have it."""
        path = tmp_path / "head"
        head = load_head("miniature-compact")
        metadata = {"ldznet": encode_config(head.config), PROVENANCE_KEY: '{"from": "here"}'}
        write_weights(head.state_dict(), path, metadata, max_shard_bytes=None)
        return path

    def test_thresholds_change_and_all_else_stays(
        self, head: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before, state = read_config(head), read_weights(head)[0]
        words = ["evaluate", "--what", "calibration", "--head", str(head), "--count", "2"]
        assert main([*words, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["calibration"]
        after = read_config(head)
        assert after.presence_threshold == found["presence_threshold"]
        assert after.mask_threshold == found["mask_threshold"]
        assert after.presence_threshold != before.presence_threshold
        assert read_metadata(head)[PROVENANCE_KEY] == '{"from": "here"}'
        stored = read_weights(head)[0]
        assert stored.keys() == state.keys()
        assert all(torch.equal(stored[name], state[name]) for name in state)
        assert {each.dtype for each in stored.values()} == {torch.float32}
