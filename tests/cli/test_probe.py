"""``ldznet probe`` as users meet it: tables, files, and single sentences."""

import json
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the command line needs the extra `cli`")

from ldznet_core.cli import main

SMALL = ["probe", "--scenes", "5", "--held-out", "2", "--noises", "1", "--timestep", "400"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small probe's files."""
    folder = tmp_path_factory.mktemp("probe") / "new"
    files = ["--out", str(folder / "probe.json"), "--picture", str(folder / "probe.png")]
    assert main([*SMALL, "--timestep", "1", *files]) == 0
    return folder


def test_it_writes_every_figure_and_what_was_asked(report: Path) -> None:
    found = json.loads((report / "probe.json").read_text("utf-8"))
    assert found["asked"]["timesteps"] == [1, 400]
    assert found["asked"]["held_out"] == 2
    blocks = {(each["block"], each["timestep"]) for each in found["cells"] if each["block"]}
    assert blocks == {(block, timestep) for block in range(1, 17) for timestep in (1, 400)}
    assert {each["source"] for each in found["cells"]} == {
        "unet",
        "untrained",
        "latents",
        "encoder",
        "truth",
    }
    assert len(found["best"]["miou"]["at any timestep"]) == 5
    assert len(found["best"]["precision"]["at t = 300 to 500"]) == 5


def test_it_draws_the_heat_map(report: Path) -> None:
    with Image.open(report / "probe.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_it_prints_tables_and_the_same_figures_for_the_same_words(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(SMALL) == 0
    printed = capsys.readouterr().out
    assert printed.count("| block, t = | 400 |") == 2
    assert "Best five blocks at any timestep: " in printed
    stored = json.loads((report / "probe.json").read_text("utf-8"))["cells"]
    at_400 = [each for each in stored if (each["source"], each["timestep"]) == ("unet", 400)]
    for each in at_400:
        assert f"| {each['precision']:.3f} |" in printed.replace("**", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scenes", "4"], "at least 5 scenes"),
        (["--held-out", "0"], "one held out"),
        (["--noises", "0"], "one noise"),
        (["--split", "train"], "nothing is fitted to"),
        (["--split", "nowhere"], "a split of"),
        (["--world", "nowhere"], "a world of"),
        (["--timestep", "1000"], "timesteps from 0 to 999, got 1000"),
        (["--timestep", "half"], "invalid int value"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_probed_is_told_in_a_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
