"""Training as its commands run it, on few scenes and few steps."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate", reason="training needs the extra `train`")

from ldznet_core.checkpoint import load_head
from ldznet_core.errors import CheckpointError, InputError
from ldznet_core.head.config import Kind
from ldznet_core.miniature import load_miniature
from ldznet_core.miniature.parts import WEIGHTS, training_of
from ldznet_core.miniature.vae import decode, encode, load_vae
from ldznet_core.tokenizer import tokenize
from ldznet_core.training import Plan, SceneCache, Setup, Stage, make_stage, train
from ldznet_core.training.cache import latents_name
from ldznet_core.training.saved_state import find_state
from ldznet_core.weights import read_weights

from .pace import EACH

STAGES = ("vae", "ldm", "head")
SIDE = 64


def plan(steps: int = EACH, minutes: float = 10.0) -> Plan:
    return Plan(steps=steps, batch=2, learning_rate=1e-3, warmup=2, budget_minutes=minutes)


def stage(name: str, run: Path, **further: Any) -> Stage:
    sizes = {"world": "small", "scenes": 8, "side": SIDE, "crop": SIDE, "seed": 0}
    return make_stage(name, run, Setup(**{**sizes, **further}))


@pytest.fixture(scope="module", autouse=True)
def small_samples() -> Iterator[None]:
    """Sheets of pictures that took two steps, and no more scenes held out than are shown."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ldznet_core.training.ldm._SHEET_STEPS", 2)
        patch.setattr("ldznet_core.training.setup._HELD_OUT", 64)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all three stages behind it."""
    run = tmp_path_factory.mktemp("run")
    for name in STAGES:
        assert train(stage(name, run), plan(), run, resume=False) == EACH
    return run


def test_each_stage_leaves_its_state_log_curves_and_samples(finished: Path) -> None:
    for name in STAGES:
        folder = finished / name
        assert (folder / "state").is_dir()
        assert (folder / "log.png").is_file()
        assert (folder / "samples-0000003.png").is_file()
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [EACH]
        assert lines[0]["loss"] > 0


def test_the_weights_load_as_a_miniature_with_its_head(finished: Path) -> None:
    miniature = load_miniature(folder=finished / "weights")
    head = load_head(finished / "weights" / "head-ldznet")
    assert miniature.image_side == SIDE
    assert head.config.family == miniature.family
    assert head.config.training.startswith("head: 3 steps, 6 samples")


def test_a_compact_head_learns_beside_the_paper_s(finished: Path) -> None:
    ours = stage("head", finished, kind="compact", taps=(6, 7, 12))
    batch = ours.batch(plan(), 3, 0)
    assert len(batch["phrases"]) == len(batch["masks"]) == 4 * len(batch["latents"])
    assert len(batch["conditions"]) == len(batch["latents"])
    assert train(ours, plan(), finished, resume=False) == EACH
    assert (finished / "head-compact" / "samples-0000003.png").is_file()
    head = load_head(finished / "weights" / "head-compact")
    assert head.config.kind == "compact"
    assert head.config.taps == (6, 7, 12)
    assert load_head(finished / "weights" / "head-ldznet").config.kind == "ldznet"


class TestGoingOnFromAnotherHead:
    def test_its_weights_and_settings_are_taken(self, finished: Path, tmp_path: Path) -> None:
        start = load_head("miniature-compact")
        taps = start.config.taps
        ours = stage("head", finished, kind="compact", taps=taps, start=Path("miniature-compact"))
        begun = ours.objective.get_submodule("head")
        for name, value in start.state_dict().items():
            assert torch.equal(begun.state_dict()[name], value)
        assert begun.config.presence_threshold == start.config.presence_threshold
        ours.publish(tmp_path, "3 steps")
        told = load_head(tmp_path / "head-compact").config.training
        assert told == f"{start.config.training}; then 3 steps"

    def test_of_other_taps_it_is_refused(self, finished: Path) -> None:
        with pytest.raises(InputError, match=r"of taps \[6, 7\] in miniature-compact, got"):
            stage("head", finished, kind="compact", taps=(6, 7), start=Path("miniature-compact"))


class TestGoingOnFromOtherWeights:
    """The stages before the heads, in runs of their own that begin where others ended."""

    def test_a_vae_has_its_weights_and_its_story(self, finished: Path, tmp_path: Path) -> None:
        shutil.copytree(finished / "cache", tmp_path / "cache")
        ours = stage("vae", tmp_path, start=finished / "weights")
        begun = ours.objective.get_submodule("vae")
        start = load_vae(finished / "weights" / "vae")
        for name, value in start.state_dict().items():
            assert torch.equal(begun.state_dict()[name], value)
        assert all(each.requires_grad for each in begun.parameters())
        ours.publish(tmp_path / "weights", "5 steps")
        told = training_of(tmp_path / "weights" / "vae")
        assert re.fullmatch(r"vae: 3 steps, .*; then 5 steps", told)

    def test_a_vae_of_other_channels_is_refused(self, finished: Path) -> None:
        with pytest.raises(
            InputError, match=r"channels \(32, 64, 64, 64\) .* got \(32, 32, 64, 64\)"
        ):
            stage("vae", finished, start=finished / "weights", channels=(32, 64, 64, 64))

    def test_a_vae_s_decoder_alone_keeps_all_latents(self, finished: Path, tmp_path: Path) -> None:
        shutil.copytree(finished / "cache", tmp_path / "cache")
        start = finished / "weights"
        train(
            stage("vae", tmp_path, start=start, decoder_only=True), plan(2), tmp_path, resume=False
        )
        before, after = (load_vae(run / "weights" / "vae") for run in (finished, tmp_path))
        images = torch.rand((2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)) * 2 - 1
        with torch.no_grad():
            latents = encode(before, images)
            assert torch.equal(encode(after, images), latents)
            assert not torch.equal(decode(after, latents), decode(before, latents))

    def test_a_decoder_alone_needs_an_encoder(self, finished: Path) -> None:
        with pytest.raises(InputError, match="name them with --start"):
            stage("vae", finished, decoder_only=True)

    def test_the_miniature_learns_more_words(self, finished: Path, tmp_path: Path) -> None:
        shutil.copytree(finished / "weights", tmp_path / "weights")
        ours = stage("ldm", tmp_path, world="full", start=Path("miniature"))
        encoder, unet = (ours.objective.get_submodule(name) for name in ("text_encoder", "unet"))
        start = load_miniature()
        known, new = tokenize(["a red car"]), tokenize(["a red rooster"])
        with torch.no_grad():
            assert torch.equal(encoder(known), start.text_encoder(known))
            assert not torch.equal(encoder(new), start.text_encoder(new))
        for name, value in start.unet.state_dict().items():
            assert torch.equal(unet.state_dict()[name], value)
        assert all(each.requires_grad for each in ours.objective.parameters())

    def test_it_is_a_new_run(self, finished: Path, tmp_path: Path) -> None:
        shutil.copytree(finished / "weights", tmp_path / "weights")
        begun = stage("ldm", tmp_path, start=Path("miniature"))
        assert train(begun, plan(1), tmp_path, resume=False) == 1
        told = training_of(tmp_path / "weights" / "unet")
        shipped = training_of(WEIGHTS / "unet")
        assert told == f"{shipped}; then ldm: 1 steps, 2 samples, 0 minutes, seed 0"

    @pytest.mark.parametrize("name", STAGES)
    def test_what_is_not_there_is_told_before_scenes_are_drawn(
        self, name: str, finished: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(finished / "weights", tmp_path / "weights")
        with pytest.raises(CheckpointError, match="nowhere"):
            stage(name, tmp_path, start=tmp_path / "nowhere")
        assert not (tmp_path / "cache").exists()


class TestPaintings:
    """Scenes that a head also learns from as the miniature paints them."""

    def of(self, run: Path, kind: Kind) -> Stage:
        taps = (6, 7, 12) if kind == "compact" else (6, 7)
        return stage("head", run, kind=kind, taps=taps, paintings=3)

    @pytest.mark.parametrize("kind", ["ldznet", "compact"])
    def test_a_batch_is_half_of_them_and_a_head_learns(
        self, finished: Path, tmp_path: Path, kind: Kind
    ) -> None:
        run = Path(shutil.copytree(finished, tmp_path / "run"))
        shutil.rmtree(run / ("head" if kind == "ldznet" else "head-compact"), ignore_errors=True)
        stage = self.of(run, kind)
        batch = stage.batch(plan(), 3, 0)
        assert len(batch["latents"]) == len(batch["painted"]) == len(batch["painted-6"]) == 1
        assert len(batch["conditions"]) == 1
        assert len(batch["phrases"]) == len(batch["masks"]) == 2 * (4 if kind == "compact" else 1)
        assert train(stage, plan(), run, resume=False) == EACH

    def test_are_pictures_of_their_scenes_that_the_miniature_painted(self, finished: Path) -> None:
        stage = self.of(finished, "compact")
        scenes = SceneCache(finished / "cache", "small", "train", 8, SIDE)
        latents = scenes.latents(latents_name(finished / "weights"), lambda images: images)
        painted, blocks = stage._paintings.rows([0, 1, 2])
        clean = torch.from_numpy(latents[:3].astype("float32"))
        apart = [(painted[row] - clean).abs().mean(dim=(1, 2, 3)) for row in range(3)]
        assert all(each[row] > 0.05 for row, each in enumerate(apart))
        assert [int(each.argmin()) for each in apart] == [0, 1, 2]
        assert sorted(blocks) == [6, 7, 12]

    def test_are_painted_once(self, finished: Path) -> None:
        one = self.of(finished, "compact").batch(plan(), 5, 0)
        [folder] = (finished / "cache").glob("*painted-3-*-6-7-12")
        changed = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        other = self.of(finished, "compact").batch(plan(), 5, 0)
        assert changed == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert torch.equal(one["painted"], other["painted"])

    def test_want_a_batch_that_has_room_for_them(self, finished: Path) -> None:
        with pytest.raises(InputError, match="batch of at least 2 with paintings, got 1"):
            self.of(finished, "compact").batch(replace(plan(), batch=1), 0, 0)

    def test_cannot_be_of_more_scenes_than_there_are(self, finished: Path) -> None:
        with pytest.raises(InputError, match="at most 8 scenes, got 9: lower --paintings"):
            stage("head", finished, paintings=9)


def test_going_on_after_a_stop_equals_never_having_stopped(finished: Path, tmp_path: Path) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for run in (straight, stopped):
        (run / "weights").mkdir(parents=True)
        vae = finished / "weights" / "vae.safetensors"
        (run / "weights" / "vae.safetensors").write_bytes(vae.read_bytes())
    train(stage("ldm", straight), plan(2 * EACH), straight, resume=False)
    assert train(stage("ldm", stopped), plan(2 * EACH, minutes=0), stopped, resume=False) == EACH
    log = stopped / "ldm" / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 5, "seconds": 1, "loss": 9}\n')
    assert train(stage("ldm", stopped), plan(2 * EACH), stopped, resume=True) == 2 * EACH
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [EACH, 2 * EACH]
    for name in ("unet", "text_encoder"):
        one, _ = read_weights(straight / "weights" / name)
        other, _ = read_weights(stopped / "weights" / name)
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_so_it_does_where_a_stage_draws_chance_of_its_own(finished: Path, tmp_path: Path) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for run in (straight, stopped):
        shutil.copytree(finished / "cache", run / "cache")
    train(stage("vae", straight), plan(2 * EACH), straight, resume=False)
    assert train(stage("vae", stopped), plan(2 * EACH, minutes=0), stopped, resume=False) == EACH
    assert train(stage("vae", stopped), plan(2 * EACH), stopped, resume=True) == 2 * EACH
    one, _ = read_weights(straight / "weights" / "vae")
    other, _ = read_weights(stopped / "weights" / "vae")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_new_run_never_overwrites_a_saved_state(finished: Path) -> None:
    with pytest.raises(InputError, match="add --resume"):
        train(stage("vae", finished), plan(), finished, resume=False)


def test_there_must_be_a_state_to_go_on_with(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "cache", tmp_path / "cache")  # spares drawing the scenes again
    with pytest.raises(InputError, match="leave out --resume"):
        train(stage("vae", tmp_path), plan(), tmp_path, resume=True)


def _with_another_average(run: Path) -> None:
    train(stage("vae", run), replace(plan(), average=0), run, resume=True)


def _with_other_channels(run: Path) -> None:
    train(stage("vae", run, channels=(32, 32, 32, 32)), plan(), run, resume=True)


def _with_a_cut_file(run: Path) -> None:
    file = max((run / "vae" / "state").iterdir(), key=lambda each: each.stat().st_size)
    file.write_bytes(file.read_bytes()[:1000])
    train(stage("vae", run), plan(), run, resume=True)


@pytest.mark.parametrize("go_on", [_with_another_average, _with_other_channels, _with_a_cut_file])
def test_a_state_that_is_not_this_training_s_is_refused(
    go_on: Callable[[Path], None], finished: Path, tmp_path: Path
) -> None:
    for name in ("cache", "vae"):
        shutil.copytree(finished / name, tmp_path / name)
    with pytest.raises(InputError, match="repeat the flags that it was begun with"):
        go_on(tmp_path)


def test_a_stop_between_the_names_of_a_new_state_loses_none(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "cache", tmp_path / "cache")
    (tmp_path / "vae").mkdir()
    shutil.copytree(finished / "vae" / "state", tmp_path / "vae" / "state.old")
    with pytest.raises(InputError, match="add --resume"):
        train(stage("vae", tmp_path), plan(), tmp_path, resume=False)
    train(stage("vae", tmp_path), plan(), tmp_path, resume=True)
    assert find_state(tmp_path / "vae") == tmp_path / "vae" / "state"
    assert not (tmp_path / "vae" / "state.old").exists()


def test_an_unknown_world_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="small"):
        stage("vae", tmp_path, world="large")


@pytest.mark.parametrize("channels", [(32, 64, 128), (32, 64, 128, 100), (0, 32, 32, 32)])
def test_channels_that_make_no_vae_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="4 multiples of 32"):
        Setup(world="small", scenes=8, side=64, crop=64, seed=0, channels=channels)


def test_the_next_stage_learns_on_the_latents_of_a_vae_of_any_width(tmp_path: Path) -> None:
    wide = stage("vae", tmp_path, channels=(32, 64, 128, 128))
    train(wide, plan(steps=1), tmp_path, resume=False)
    vae = load_vae(tmp_path / "weights" / "vae")
    assert tuple(vae.config.block_out_channels) == (32, 64, 128, 128)
    assert stage("ldm", tmp_path).batch(plan(), 0, 0)["latents"].shape == (2, 4, 8, 8)


def test_the_learning_rate_warms_up_and_falls_to_a_hundredth() -> None:
    schedule = Plan(steps=1000, batch=1, learning_rate=1.0, warmup=100)
    assert schedule.rate_at(49) == pytest.approx(0.5)
    assert schedule.rate_at(100) == pytest.approx(1.0)
    assert schedule.rate_at(550) == pytest.approx(0.505)
    assert schedule.rate_at(1000) == pytest.approx(0.01)


def test_a_cache_holds_the_scenes_that_it_names(finished: Path) -> None:
    from ldznet_core.world import draw_layout, render

    cache = SceneCache(finished / "cache", "small", "train", 8, SIDE)
    scene = render(draw_layout("small", "train", 5), SIDE)
    assert (cache.images()[5] == scene.image).all()
    assert (cache.labels()[5] == scene.labels).all()


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path: Path) -> None:
    """The same command under a launcher; twice the samples, and one set of weights."""
    words = [
        "--world",
        "small",
        "--scenes",
        "8",
        "--side",
        "64",
        "--crop",
        "64",
        "--steps",
        "10",
        "--batch",
        "2",
    ]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    launch += ["--master_port=0", "--standalone", "-m", "ldznet_core", "train", "vae"]
    done = subprocess.run(
        [*launch, "--folder", str(tmp_path), *words], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    _, metadata = read_weights(tmp_path / "weights" / "vae")
    assert metadata["training"].startswith("vae: 10 steps, 40 samples")
