"""The command line as users meet it: files, exit statuses and single sentences."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the command line needs the extra `cli`")

from ldznet_core import LDZNetHead, load_head, load_miniature, read_config, save_head
from ldznet_core.checkpoint import encode_config
from ldznet_core.cli import COMMANDS, main
from ldznet_core.weights import write_weights


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A real scene, of a size that no network likes."""
    from ldznet_core.world import draw_layout, render

    path = tmp_path / "scene.png"
    Image.fromarray(render(draw_layout("small", "iid", 3), 128).image).crop((0, 0, 121, 99)).save(
        path
    )
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a demo has written."""
    out = tmp_path_factory.mktemp("demo") / "new" / "folder"
    assert main(["demo", "--out", str(out), "--steps", "10"]) == 0
    return out


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.copy()


class TestDemo:
    def test_it_writes_every_picture_and_the_report(self, out: Path) -> None:
        report = json.loads((out / "report.json").read_text("utf-8"))
        masks = {phrase["mask"] for phrase in report["phrases"]}
        expected = {"image.png", "overlay.png", "inpainted.png", "summary.png", "report.json"}
        assert {path.name for path in out.iterdir()} == expected | masks
        assert report["captured_timesteps"] == [299, 199, 99]
        assert report["source"] == "sampling"
        assert report["same_picture_with_capture"] is True
        assert all(seconds > 0 for seconds in report["seconds"].values())

    def test_it_can_do_without_a_trained_head(self, tmp_path: Path) -> None:
        words = ["demo", "--head", "training-free", "--phrase", "red car", "--steps", "12"]
        assert main([*words, "--out", str(tmp_path)]) == 0
        report = json.loads((tmp_path / "report.json").read_text("utf-8"))
        assert report["source"] == "sampling"
        assert report["same_picture_with_capture"] is True
        assert report["phrases"][0]["found"]

    def test_masks_are_8_bit_of_the_size_of_the_picture(self, out: Path) -> None:
        report = json.loads((out / "report.json").read_text("utf-8"))
        size = opened(out / "image.png").size
        for phrase in report["phrases"]:
            mask = opened(out / phrase["mask"])
            assert (mask.mode, mask.size) == ("L", size)
            area = np.asarray(mask).mean() / 255
            assert area == pytest.approx(phrase["area"], abs=1e-3)
            assert phrase["found"] == (area > 0)

    def test_a_head_that_reads_no_features_will_do(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        unet = load_miniature().unet
        config = replace(read_config("miniature"), taps=())
        save_head(LDZNetHead.from_unet(unet.state_dict(), config), tmp_path / "znet")
        words = ["demo", "--head", str(tmp_path / "znet"), "--out", str(tmp_path / "out")]
        assert main([*words, "--steps", "3"]) == 0
        assert "features: none, this head reads the latents alone" in capsys.readouterr().out

    def test_few_steps_pass_the_window_by_and_a_probe_stands_in(self, tmp_path: Path) -> None:
        assert main(["demo", "--out", str(tmp_path), "--steps", "1", "--phrase", "owl"]) == 0
        report = json.loads((tmp_path / "report.json").read_text("utf-8"))
        assert (report["source"], report["captured_timesteps"]) == ("probe", [])


class TestSegment:
    def test_a_picture_of_any_size_gets_masks_of_its_size(
        self, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "masks"
        words = ["segment", str(picture), "--phrase", "sky", "--phrase", "Red Car!", "--json"]
        assert main([*words, "--out", str(out)]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report == json.loads((out / "report.json").read_text("utf-8"))
        names = [phrase["mask"] for phrase in report["pictures"][0]["phrases"]]
        assert names == ["mask-sky.png", "mask-red-car.png"]
        assert all(opened(out / name).size == (121, 99) for name in names)

    def test_a_picture_too_narrow_costs_the_others_nothing(
        self, picture: Path, tmp_path: Path
    ) -> None:
        narrow, out = tmp_path / "narrow.png", tmp_path / "masks"
        Image.new("RGB", (1, 600)).save(narrow)
        words = ["segment", str(narrow), str(picture), "--phrase", "owl", "--out", str(out)]
        assert main(words) == 2
        report = json.loads((out / "report.json").read_text("utf-8"))
        assert [Path(each["image"]).name for each in report["failed"]] == ["narrow.png"]
        assert (out / "scene" / "mask-owl.png").is_file()

    def test_many_pictures_have_a_folder_each(self, picture: Path, tmp_path: Path) -> None:
        twin = tmp_path / "other" / "scene.png"
        twin.parent.mkdir()
        twin.write_bytes(picture.read_bytes())
        out = tmp_path / "masks"
        words = ["segment", str(picture), str(twin), "--phrase", "owl", "--out", str(out)]
        assert main(words) == 0
        assert (out / "scene" / "mask-owl.png").read_bytes() == (
            out / "scene-2" / "mask-owl.png"
        ).read_bytes()


BAD_WORDS = {
    "no such command": (["paint"], "expected a command"),
    "no such flag": (["demo", "--colour", "red"], "--colour"),
    "a word for a number": (["demo", "--seed", "one"], "--seed"),
    "an empty prompt": (["demo", "--prompt", " "], "empty one"),
    "an empty phrase": (["demo", "--phrase", ""], "empty one"),
    "a seed that is too large": (["demo", "--seed", str(2**64)], "2^63 - 2"),
    "a phrase of no text": (["demo", "--phrase", "caf\udce9"], "whole characters"),
    "blocks from high to low": (["train", "head", "--taps", "10-6"], "numbers and ranges"),
    "no steps": (["demo", "--steps", "0"], "1 to 1000 steps"),
    "a threshold of 2": (["demo", "--threshold", "2", "--steps", "1"], "above 0 and below 1"),
    "a long phrase": (["demo", "--phrase", "owl " * 80, "--steps", "1"], "77 tokens"),
    "a long prompt": (["demo", "--prompt", "owl " * 80], "tokens"),
    "a threshold of 2 for pictures": (
        ["segment", "a.png", "--phrase", "owl", "--out", "x", "--threshold", "2"],
        "above 0 and below 1",
    ),
    "no such model": (["demo", "--model", "sd15.safetensors"], "miniature"),
    "no such head": (["demo", "--head", "gone.safetensors"], "expected weights at"),
    "a pickled head": (["demo", "--head", "LDZNet.ckpt"], "ldznet convert"),
    "no such weights": (["info", "gone"], "found none"),
    "no picture": (["segment", "--phrase", "owl", "--out", "x"], "IMAGE"),
    "no scenes": (["evaluate", "--count", "0"], "at least one"),
    "a side of 100": (["train", "vae", "--side", "100"], "multiples of 64"),
    "nothing to resume": (["train", "vae", "--scenes", "4", "--resume"], "leave out --resume"),
}


@pytest.mark.parametrize("name", BAD_WORDS)
def test_bad_words_end_in_one_sentence_and_leave_nothing(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, message = BAD_WORDS[name]
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("ldznet: error: ")
    assert message in last
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not list(tmp_path.rglob("*.png"))
    assert not (tmp_path / "ldznet-demo").exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"no picture", "text.png"),
        (b"", "empty.jpg"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "cut.png"),
    ],
)
def test_a_damaged_picture_is_refused_before_any_work(
    content: bytes, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / name, tmp_path / "out"
    path.write_bytes(content)
    assert main(["segment", str(path), "--phrase", "owl", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ldznet: error: ")
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_a_head_of_another_family_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = load_head("miniature")
    head.config = replace(head.config, family="sd1")
    save_head(head, tmp_path / "sd1")
    words = ["demo", "--head", str(tmp_path / "sd1.safetensors"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("ldznet: error: expected a head for 'miniature', got one for 'sd1'")
    assert not (tmp_path / "out").exists()


def test_a_damaged_head_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "head.safetensors").write_bytes(b"\xff" * 100)
    assert main(["info", str(tmp_path / "head.safetensors")]) == 2
    assert "expected safetensors" in capsys.readouterr().err


def test_one_bad_picture_of_several_writes_none(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["segment", str(picture), str(tmp_path / "gone.png"), "--phrase", "owl"]
    assert main([*words, "--out", str(out)]) == 2
    assert "gone.png" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_where_the_folder_should_be_is_kept(
    picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = picture.read_bytes()
    assert main(["segment", str(picture), "--phrase", "owl", "--out", str(picture)]) == 2
    assert "expected a folder" in capsys.readouterr().err
    assert picture.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: ldznet {command}")
    assert "--json" in text


def test_letters_that_a_terminal_does_not_know_cost_no_report(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", write_through=True)
    monkeypatch.setattr("sys.stdout", shown)
    words = ["segment", str(picture), "--phrase", "猫", "--out", str(tmp_path / "masks")]
    assert main(words) == 0
    assert b"\\u732b" in shown.buffer.getvalue()


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_info_describes_the_head_of_the_miniature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "miniature", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["head"]["kind"] == "ldznet"
    assert report["head"]["taps"] == [6, 7, 8, 9, 10]
    assert 0 < report["head"]["presence_threshold"] < 1


@pytest.mark.parametrize("provenance", ["x", "[]", '{"source": "here"}'])
def test_info_shows_whatever_a_head_says_of_where_it_comes_from(
    provenance: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = load_head("miniature-compact")
    metadata = {"ldznet": encode_config(head.config), "provenance": provenance}
    write_weights(head.state_dict(), tmp_path / "head", metadata)
    assert main(["info", str(tmp_path / "head")]) == 0
    shown = capsys.readouterr().out
    assert "source: here" in shown if "here" in provenance else f"provenance: {provenance}" in shown


@pytest.mark.parametrize("words", [["demo", "--help"], ["convert"], ["evaluate", "--help"]])
def test_a_package_that_is_missing_is_told(words: list[str], tmp_path: Path) -> None:
    """As after `pip install .` without the extra."""
    code = (
        "import sys; sys.modules['tqdm'] = None\n"
        f"from ldznet_core.cli import main\nsys.exit(main({words}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "expected the package tqdm" in done.stderr
    assert "pip install '.[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_capture_costs_are_measured_in_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--pairs", "2", "--steps", "3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["same_latents"] is True
    assert report["ratio"] > 0


def test_evaluation_measures_masks_and_the_vae(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    words = ["evaluate", "--what", "masks", "--count", "2", "--out", str(out), "--json"]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads(out.read_text("utf-8"))
    assert set(figures) == {"masks of iid"}
    assert main(["evaluate", "--what", "vae", "--count", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vae"]["psnr_db"] > 20
