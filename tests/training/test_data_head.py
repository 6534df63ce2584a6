"""Heads trained on a data set's pictures: the miniature's real networks, on a few tiny pictures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip("accelerate", reason="training needs the extra `train`")

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.cli import main
from ldznet_core.data_sets import Row, read_data
from ldznet_core.errors import CheckpointError, InputError
from ldznet_core.head import HeadConfig, build_head
from ldznet_core.training import train
from ldznet_core.training.data import HeadPlan, make_data_stage
from ldznet_core.unet import UNetConfig

from ..backends.reduced import write_checkpoint
from .coloured import write_jsonl, write_phrasecut
from .pace import EACH
from .small_heads import OURS, PAPERS, PLAN, make, steps, weights_of


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a stop."""
    run = tmp_path_factory.mktemp("run")
    assert train(make(rows, run), steps(2 * EACH), run, resume=False) == 2 * EACH
    return run


class TestTraining:
    def test_the_head_loads_and_says_what_it_learned_from(self, finished: Path) -> None:
        config = load_head(finished / "weights" / "head-compact").config
        assert (config.family, config.image_side, config.taps) == ("miniature", 64, (6, 7, 12))
        assert config.probes_once
        assert config.training.startswith("head-compact: 6 steps, 6 samples")
        assert "jsonl colours, 10 phrases of 5 pictures, 0.3 absent" in config.training
        assert "seed 0" in config.training

    def test_the_log_tells_losses_and_how_good_it_is_on_what_it_never_saw(
        self, finished: Path
    ) -> None:
        lines = log_of(finished / "head-compact")
        assert [line["step"] for line in lines if "loss" in line] == [EACH, 2 * EACH]
        (measured,) = (line for line in lines if "validation_miou" in line)
        assert 0 <= measured["validation_miou"] <= 1
        assert 0 <= measured["validation_absent_rejected"] <= 1
        assert (finished / "head-compact" / "log.png").is_file()

    def test_a_sheet_shows_held_out_pictures_their_masks_and_the_head_s(
        self, finished: Path
    ) -> None:
        with Image.open(finished / "head-compact" / "samples-0000006.png") as sheet:
            assert sheet.size == (6 * 256, 3 * 256)
            truth = sheet.crop((0, 256, 256, 512)).split()
            assert truth[0].getextrema()[1] > truth[1].getextrema()[1]  # red, where the thing is

    def test_going_on_after_a_stop_equals_never_having_stopped(
        self, rows: list[Row], finished: Path, tmp_path: Path
    ) -> None:
        assert train(make(rows, tmp_path), steps(2 * EACH, 0), tmp_path, resume=False) == EACH
        assert train(make(rows, tmp_path), steps(2 * EACH), tmp_path, resume=True) == 2 * EACH
        straight, stopped = weights_of(finished), weights_of(tmp_path)
        assert all(torch.equal(straight[name], stopped[name]) for name in straight)

    def test_the_paper_s_head_starts_from_the_model_s_own_unet(self, tmp_path: Path) -> None:
        folder = write_phrasecut(tmp_path / "phrasecut")
        train_rows, held_out = (read_data(folder, "phrasecut", split) for split in ("train", "val"))
        plan = replace(PLAN, head=PAPERS, phrases=None)
        stage = make_data_stage(plan, train_rows, held_out, tmp_path)
        unet = load_miniature().unet.state_dict()
        started = stage.objective.get_submodule("head").state_dict()
        name = "input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
        assert torch.equal(started[name], unet[name])
        assert train(stage, steps(2, average=0.0), tmp_path, resume=False) == 2
        head = load_head(tmp_path / "weights" / "head-ldznet")
        assert not head.config.probes_once
        picture = Image.open(held_out[0].picture)
        given = Segmenter(load_miniature(), head).segment_image(picture, ["red ball"])
        assert given.masks.shape == (1, *picture.size[::-1])

    def test_it_learns(self, rows: list[Row], tmp_path: Path) -> None:
        run = tmp_path / "run"
        stage = make(rows, run, replace(PLAN, questions=0, views=1))
        train(stage, replace(steps(60, average=0.0), batch=2), run, resume=False)
        losses = [line["loss"] for line in log_of(run / "head-compact")]
        assert losses[-1] < 0.7 * losses[0]


class TestOtherModels:
    @pytest.mark.parametrize("head", [OURS, PAPERS], ids=["compact", "ldznet"])
    def test_a_checkpoint_of_sd_1_is_as_good_a_model(
        self, head: HeadPlan, rows: list[Row], tmp_path: Path
    ) -> None:
        """True names and layout, small widths; the frozen UNet in half the precision."""
        file = write_checkpoint(tmp_path / "sd1.safetensors")
        plan = replace(PLAN, model=str(file), dtype=torch.bfloat16, head=head, phrases=None)
        stage = make(rows, tmp_path, plan)
        assert train(stage, steps(1, average=0.0), tmp_path, resume=False) == 1
        config = load_head(tmp_path / "weights" / f"head-{head.kind}").config
        assert config.family == "sd1"
        assert config.widths == ((128, 256, 384) if head.kind == "compact" else ())

    def test_blocks_behind_the_paper_s_last_need_the_whole_unet(
        self, rows: list[Row], tmp_path: Path
    ) -> None:
        file = write_checkpoint(tmp_path / "sd1.safetensors")
        plan = replace(PLAN, model=str(file), head=replace(OURS, taps=(6, 13)))
        stage = make(rows, tmp_path, plan)
        losses = stage.objective(stage.batch(steps(), 0, 0))
        assert losses["loss"].isfinite()


class TestCommand:
    def test_a_head_is_trained_and_used_by_two_commands(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = write_jsonl(tmp_path / "data")
        run = tmp_path / "run"
        words = f"train head --data {folder} --kind compact --taps 6-8 --side 64 --steps 1"
        words += f" --batch 2 --questions 1 --folder {run} --checkpointing"
        assert main(words.split()) == 0
        head = run / "weights" / "head-compact.safetensors"
        picture = folder / "train-0.png"
        used = f"segment {picture} --phrase ball --head {head} --out {tmp_path / 'masks'}"
        assert main(used.split()) == 0
        assert list((tmp_path / "masks").rglob("*.png"))
        assert "Traceback" not in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("--side 100", "multiples of 64"),
            ("--taps 6-17", "taps from 1 to 16"),
            ("--negatives 1", "share of absent phrases"),
            ("--kind ldznet --phrases 2", "leave out --phrases"),
            ("--split nowhere", "name a split of train"),
            ("--accumulate 0", "passes of at least 1"),
            ("--dtype bfloat16", "expected float32 for the miniature"),
            ("--paintings 5", "leave out --paintings"),
        ],
    )
    def test_what_cannot_be_is_a_sentence(
        self,
        words: str,
        message: str,
        tmp_path: Path,
        rows: list[Row],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        folder = rows[0].picture.parent
        command = f"train head --data {folder} --kind compact --folder {tmp_path} {words}"
        assert main(command.split()) == 2
        assert message in capsys.readouterr().err

    def test_scenes_train_the_miniature_s_own_networks(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["train", "vae", "--data", str(tmp_path)]) == 2
        assert "expected the stage head with --data" in capsys.readouterr().err

    def test_missing_pictures_are_told_before_any_work(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = write_jsonl(tmp_path / "data")
        (folder / "train-3.png").unlink()
        assert main(["train", "head", "--data", str(folder), "--folder", str(tmp_path)]) == 2
        assert "expected 6 pictures, got 5" in capsys.readouterr().err


class TestStart:
    def test_training_goes_on_from_another_head(
        self, rows: list[Row], finished: Path, tmp_path: Path
    ) -> None:
        file = finished / "weights" / "head-compact.safetensors"
        plan = replace(PLAN, head=replace(OURS, start=file, side=128, template="a {}"))
        head = make(rows, tmp_path, plan).objective.get_submodule("head")
        for name, value in weights_of(finished).items():
            assert torch.equal(head.state_dict()[name], value.float())
        assert all(each.requires_grad for each in head.parameters())
        assert (head.config.image_side, head.config.template) == (128, "a {}")

    @pytest.mark.parametrize(
        ("plan", "message"),
        [(PAPERS, "of kind ldznet"), (replace(OURS, taps=(6,)), "of taps \\[6\\]")],
    )
    def test_another_kind_or_other_taps_are_refused(
        self, plan: HeadPlan, message: str, rows: list[Row], finished: Path, tmp_path: Path
    ) -> None:
        file = finished / "weights" / "head-compact.safetensors"
        with pytest.raises(InputError, match=message):
            make(rows, tmp_path, replace(PLAN, phrases=None, head=replace(plan, start=file)))

    def test_another_family_is_refused(self, rows: list[Row], tmp_path: Path) -> None:
        from ldznet_core.checkpoint import save_head

        unet = UNetConfig(model_channels=32, context_dim=64)
        config = HeadConfig(
            family="sd1", unet=unet, kind="compact", widths=(32, 32, 32), taps=OURS.taps
        )
        save_head(build_head(config), tmp_path / "other.safetensors", max_shard_bytes=None)
        plan = replace(PLAN, head=replace(OURS, start=tmp_path / "other.safetensors"))
        with pytest.raises(InputError, match=r"of family miniature in .*, got sd1"):
            make(rows, tmp_path, plan)

    def test_a_file_that_is_not_there_is_refused(self, rows: list[Row], tmp_path: Path) -> None:
        plan = replace(PLAN, head=replace(OURS, start=tmp_path / "none.safetensors"))
        with pytest.raises(CheckpointError):
            make(rows, tmp_path, plan)


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path: Path) -> None:
    """The same command under a launcher, with views that one process encodes for both."""
    folder = write_jsonl(tmp_path / "data")
    run = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    launch += ["--master_port=0", "--standalone", "-m", "ldznet_core", "train", "head"]
    words = f"--data {folder} --folder {run} --kind compact --side 64 --steps 10 --batch 1"
    words += " --views 1 --questions 1 --accumulate 2"
    done = subprocess.run([*launch, *words.split()], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    config = load_head(run / "weights" / "head-compact").config
    assert config.training.startswith("head-compact: 10 steps, 40 samples")
    shutil.rmtree(run)
