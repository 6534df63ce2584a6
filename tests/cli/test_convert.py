"""``ldznet convert`` as users meet it, and what ``ldznet info`` says of its file."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("tqdm", reason="the command line needs the extra `cli`")

from ldznet_core import load_head
from ldznet_core.cli import main
from ldznet_core.weights import read_weights

from ..core.official.checkpoint import SMALL, official_state, save_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("official") / "LDZNet_txt2mask.ckpt"
    return save_checkpoint(official_state(**SMALL), path)


def report(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    assert main([*map(str, words), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def complaint(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a refusal says, in its single line."""
    assert main([*map(str, words)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.replace("\r", "\n").splitlines() if line.strip()]
    (told,) = [line for line in lines if line.startswith("ldznet: error: ")]
    assert lines[-1] == told
    assert "Traceback" not in said.err
    return told.removeprefix("ldznet: error: ")


def test_a_checkpoint_becomes_a_head(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(checkpoint), str(tmp_path / "head.safetensors")]) == 0
    said = capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]
    assert load_head(tmp_path / "head.safetensors").config.family == "sd1"
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    for fact in ("kept 760 tensors, the ema weights", "760 of raw", "248 of VAE", digest):
        assert fact in said
    assert "notice" not in said


def test_the_report_is_there_for_machines(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "head.safetensors"
    found = report(capsys, "convert", checkpoint, target)
    assert found == {
        "file": str(target),
        "bytes": target.stat().st_size,
        "weights": "ema",
        "notice": "",
        "kept": 760,
        "dropped": {
            "raw": 760,
            "VAE": 248,
            "CLIP": 197,
            "frozen Stable Diffusion": 698,
            "schedule and counters": 14,
        },
        "source_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_options_reach_the_file(
    checkpoint: Path, tmp_path: Path, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--weights", "raw", "--dtype", dtype, "--positional-tables", "count"]
    found = report(capsys, "convert", checkpoint, tmp_path / "head", *options)
    assert found["weights"] == "raw"
    tensors, _ = read_weights(tmp_path / "head")
    assert {tensor.dtype for tensor in tensors.values()} == {getattr(torch, dtype)}
    assert load_head(tmp_path / "head").config.positional_tables == "count"


def test_a_checkpoint_without_averages_gives_a_notice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_checkpoint(official_state(groups=("raw",), **SMALL), tmp_path / "raw.ckpt")
    assert main(["convert", str(path), str(tmp_path / "head")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "notice: raw.ckpt has no EMA weights, so the raw ones were taken"
    assert "kept 760 tensors, the raw weights" in said


class TestInfo:
    def test_it_tells_where_a_head_comes_from(
        self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report(capsys, "convert", checkpoint, tmp_path / "head")
        found = report(capsys, "info", tmp_path / "head.safetensors")
        assert found["provenance"] == {
            "source": "LDZNet_txt2mask.ckpt",
            "source_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "kept": {"ema": 760},
            "dropped": report(capsys, "convert", checkpoint, tmp_path / "head")["dropped"],
        }
        assert found["head"]["family"] == "sd1"  # type: ignore[index]  # a dictionary

    def test_in_words_too(
        self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report(capsys, "convert", checkpoint, tmp_path / "head")
        assert main(["info", str(tmp_path / "head")]) == 0
        said = capsys.readouterr().out
        assert "  source: LDZNet_txt2mask.ckpt\n" in said
        assert '  kept: {"ema": 760}\n' in said
        assert "  family: sd1\n" in said

    def test_a_checkpoint_is_sent_to_convert(
        self, checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "run `ldznet convert` on it first" in complaint(capsys, "info", checkpoint)


class TestRefusals:
    def test_each_is_one_sentence_and_leaves_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "sources"
        folder.mkdir()
        state = official_state(groups=("ema",), **SMALL)
        (folder / "page.ckpt").write_text("<html>quota exceeded</html>")
        torch.save({"weight": torch.ones(2)}, folder / "other.ckpt")
        save_checkpoint(
            {name: tensor for name, tensor in state.items() if "out2" not in name},
            folder / "incomplete.ckpt",
        )
        whole = save_checkpoint(state, folder / "truncated.ckpt").read_bytes()
        (folder / "truncated.ckpt").write_bytes(whole[: len(whole) // 2])
        words = {
            "nowhere.ckpt": "found none: check the path",
            "page.ckpt": "File is not a zip file",
            "other.ckpt": "1 surplus (weight)",
            "incomplete.ckpt": "2 missing (model_ema.diffusion_modelout2bias, ",
            "truncated.ckpt": "File is not a zip file",
        }
        for name, expected in words.items():
            assert expected in complaint(capsys, "convert", folder / name, tmp_path / "head")
        assert list(tmp_path.iterdir()) == [folder]

    @pytest.mark.parametrize(
        "options",
        [
            ["--weights", "average"],
            ["--dtype", "float8"],
            ["--positional-tables", "none"],
            ["--force"],
        ],
    )
    def test_unknown_options(
        self,
        checkpoint: Path,
        tmp_path: Path,
        options: list[str],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        complaint(capsys, "convert", checkpoint, tmp_path / "head", *options)
        assert list(tmp_path.iterdir()) == []

    def test_a_source_alone(self, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
        complaint(capsys, "convert", checkpoint)

    def test_the_source_as_the_target(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "head.safetensors"
        path.write_bytes(b"mine")
        assert "another file" in complaint(capsys, "convert", path, path)
        assert path.read_bytes() == b"mine"


SLOWLY = """
import sys, time
import ldznet_core.weights as weights
from ldznet_core.cli import main

true = weights._bytes_of
weights._digest = lambda tensors, metadata: ""
weights._bytes_of = lambda tensor: time.sleep(0.05) or true(tensor)
sys.exit(main(["convert", sys.argv[1], sys.argv[2]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking them")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 130), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_process_that_is_told_to_end_leaves_nothing(
    checkpoint: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """The command itself, in a process of its own, stopped in the midst of writing."""
    (tmp_path / "head.safetensors").write_bytes(b"the former")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(checkpoint), str(tmp_path / "head")],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C may be switched off where the tests run: a shell does so to what it runs behind.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for _ in range(600):
            if len(list(tmp_path.iterdir())) == 2:  # the draft beside the former
                break
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (status, "")
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]
    assert (tmp_path / "head.safetensors").read_bytes() == b"the former"
