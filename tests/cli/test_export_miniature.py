"""``ldznet export-miniature`` as users meet it: files, reports, and what is left after errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ldznet_core.cli import main
from ldznet_core.weights import read_weights

CHECKPOINT, CONFIGURATION = "ldznet-miniature.safetensors", "ldznet-miniature.yaml"
CLIP = {
    f"ldznet-miniature-clip/{name}"
    for name in (
        "config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "vocab.json",
    )
}


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def complaint(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a refusal says, in its single line."""
    assert main(["export-miniature", *map(str, words)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line.removeprefix("ldznet: error: ")


def test_a_web_ui_gets_checkpoint_configuration_and_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "models" / "Stable-diffusion"
    assert main(["export-miniature", str(out), "--for", "webui", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert files_in(out) == {CHECKPOINT, CONFIGURATION} | CLIP
    assert {Path(file).relative_to(out).as_posix() for file in report["files"]} == files_in(out)
    assert report["checkpoint"] == str(out / CHECKPOINT)
    assert report["bytes"] == sum((out / name).stat().st_size for name in files_in(out))
    clip = str(out / "ldznet-miniature-clip")
    assert json.dumps(clip) in (out / CONFIGURATION).read_text("utf-8")
    assert list(tmp_path.iterdir()) == [tmp_path / "models"]


def test_the_path_of_clip_is_whole_though_the_folder_was_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export-miniature", "here"]) == 0
    clip = str(tmp_path / "here" / "ldznet-miniature-clip")
    assert json.dumps(clip) in (tmp_path / "here" / CONFIGURATION).read_text("utf-8")


def test_in_words_it_says_what_not_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export-miniature", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == str(tmp_path / CHECKPOINT)
    assert "do not move it" in said[-1]


def test_others_get_the_checkpoint_alone(tmp_path: Path) -> None:
    assert main(["export-miniature", str(tmp_path), "--for", "ldm"]) == 0
    assert files_in(tmp_path) == {CHECKPOINT}


def test_files_of_other_names_stay_and_those_of_the_same_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    (tmp_path / CHECKPOINT).write_bytes(b"old")
    assert main(["export-miniature", str(tmp_path)]) == 0
    assert files_in(tmp_path) == {"mine.safetensors", CHECKPOINT, CONFIGURATION} | CLIP
    assert (tmp_path / "mine.safetensors").read_bytes() == b"mine"
    assert read_weights(tmp_path / CHECKPOINT)[0]


class TestRefusals:
    def test_no_folder(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "FOLDER" in complaint(capsys)

    def test_an_unknown_host(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said = complaint(capsys, tmp_path, "--for", "comfyui")
        assert "--for" in said
        assert "webui" in said
        assert files_in(tmp_path) == set()

    def test_a_file_in_the_place_of_the_folder(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_bytes(b"mine")
        assert "expected a folder" in complaint(capsys, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"mine"

    def test_a_folder_in_the_place_of_a_file(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / CONFIGURATION).mkdir()
        assert "rename it" in complaint(capsys, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [CONFIGURATION]

    def test_a_model_that_is_not_there(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        said = complaint(capsys, tmp_path / "out", "--model", tmp_path / "gone")
        assert "found none: check the path" in said
        assert list(tmp_path.iterdir()) == []

    def test_an_error_while_writing_leaves_what_was_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / CHECKPOINT).write_bytes(b"old")

        def fail(source: object, target: object) -> None:
            raise OSError("No space left on device")

        monkeypatch.setattr("shutil.copyfile", fail)  # after checkpoint and configuration
        assert "No space left" in complaint(capsys, tmp_path)
        assert files_in(tmp_path) == {CHECKPOINT}
        assert (tmp_path / CHECKPOINT).read_bytes() == b"old"
