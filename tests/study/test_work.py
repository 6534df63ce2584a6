"""Cells from their first step to their figures, on few scenes and few steps."""

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate", reason="a study needs the extra `train`")

from ldznet_core.checkpoint import load_head
from ldznet_core.errors import CheckpointError
from ldznet_core.miniature import load_miniature
from ldznet_core.study.cells import Cell, CellFigures
from ldznet_core.study.designs import DESIGNS, TABLES, make_head
from ldznet_core.study.material import Material
from ldznet_core.study.settings import Settings
from ldznet_core.study.stage import CellStage
from ldznet_core.study.views import VIEWS, Views
from ldznet_core.study.work import finished, work
from ldznet_core.taps import find_taps
from ldznet_core.training import Plan

from ..training.pace import EACH, short_runs

SETTINGS = Settings(
    world="small", side=64, steps=2, batch=2, learning_rate=1e-3, held_out=1, weights="shipped"
)
SCENES = 8
PLAN = Plan(steps=9, batch=4, learning_rate=1e-3)


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """So that a cell stops after three steps in the place of ten."""
    with short_runs():
        yield


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    cache = tmp_path_factory.mktemp("cache")
    return Material(cache, SETTINGS, SCENES, load_miniature())


def stage(name: str, material: Material, scenes: int = SCENES) -> CellStage:
    head = make_head(DESIGNS[name], material.miniature, SETTINGS.side)
    return CellStage(Cell(name, scenes, 0), DESIGNS[name], head, material)


@pytest.mark.parametrize("name", TABLES["designs"])
def test_each_design_is_trained_and_measured_on_every_split(
    name: str, material: Material, tmp_path: Path
) -> None:
    told: list[str] = []
    work(tmp_path, [Cell(name, SCENES, 0)], material, 10, tell=told.append)
    (figures,) = finished(tmp_path, [Cell(name, SCENES, 0)])
    assert list(figures.splits) == ["iid", "comb", "style", "gen"]
    assert all(0 <= each.things_miou <= 1 for each in figures.splits.values())
    assert "1 of 1 cells are finished, about 0 h 0 min are left" in told[0]
    assert not any((tmp_path / "cells").rglob("*.safetensors"))


def test_a_cell_that_was_stopped_ends_as_one_that_was_not(
    material: Material, tmp_path: Path
) -> None:
    material = _with_steps(material, EACH)  # of which a compact head takes twice as many
    cell = Cell("compact", SCENES, 1)
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    work(straight, [cell], material, 10)
    told: list[str] = []
    work(stopped, [cell], material, 1e-4, tell=told.append)  # ends at the first look at the clock
    assert "its state is kept" in told[0]
    assert finished(stopped, [cell]) == []
    work(stopped, [cell], material, 10)
    both = [finished(folder, [cell])[0] for folder in (straight, stopped)]
    assert _without_seconds(both[0]) == _without_seconds(both[1])


def test_finished_cells_are_only_read(material: Material, tmp_path: Path) -> None:
    cells = [Cell("compact-none", SCENES, seed) for seed in (0, 1)]
    work(tmp_path, cells[:1], material, 10, keeps=True)
    path = tmp_path / "figures" / "compact-none-8-0.json"
    path.write_text(path.read_text().replace('"parameters": ', '"parameters": 7'))
    weights = tmp_path / "cells" / "weights" / "compact-none-8-0.safetensors"
    written = weights.stat().st_mtime_ns
    work(tmp_path, cells, material, 10)
    done = finished(tmp_path, cells)
    assert [each.cell.seed for each in done] == [0, 1]
    assert str(done[0].parameters).startswith("7")
    assert weights.stat().st_mtime_ns == written


@pytest.mark.parametrize("name", ["compact", "ld-znet"])
def test_a_head_that_is_kept_can_be_loaded_and_says_how_it_was_trained(
    name: str, material: Material, tmp_path: Path
) -> None:
    work(tmp_path, [Cell(name, SCENES, 0)], material, 10, keeps=True)
    head = load_head(tmp_path / "cells" / "weights" / f"{name}-{SCENES}-0")
    assert head.config.taps == DESIGNS[name].taps
    assert "steps" in head.config.training


def test_a_design_of_the_study_alone_is_never_taken_for_a_head(
    material: Material, tmp_path: Path
) -> None:
    work(tmp_path, [Cell("concatenation", SCENES, 0)], material, 10, keeps=True)
    with pytest.raises(CheckpointError, match="other weights"):
        load_head(tmp_path / "cells" / "weights" / f"concatenation-{SCENES}-0")


def test_without_minutes_nothing_is_begun(material: Material, tmp_path: Path) -> None:
    work(tmp_path, [Cell("znet", SCENES, 0)], material, 0)
    assert list(tmp_path.iterdir()) == []


def test_all_designs_are_shown_the_same(material: Material) -> None:
    ours, paper = (stage(name, material).batch(PLAN, 3, 0) for name in ("compact", "znet"))
    assert ours["phrases"] == paper["phrases"]
    assert torch.equal(ours["masks"], paper["masks"])
    assert torch.equal(ours["latents"], paper["latents"])
    assert sorted(ours["blocks"]) == list(DESIGNS["compact"].taps)
    assert paper["blocks"] == {}


def test_a_round_shows_every_scene_of_the_cell_and_no_other(material: Material) -> None:
    few = stage("znet", material, scenes=4)
    shown = [few.batch(PLAN, step, 0)["latents"] for step in (0, 1)]
    first = torch.from_numpy(material.latents[:4].copy()).float()
    for latents in shown:
        places = [int((first == row).flatten(1).all(dim=1).nonzero()) for row in latents]
        assert sorted(places) == [0, 1, 2, 3]


def test_rgbnet_is_shown_the_pictures_of_the_same_scenes(material: Material) -> None:
    batch = stage("rgbnet", material).batch(PLAN, 0, 0)
    pictures = torch.nn.functional.pixel_shuffle(batch["latents"], 8)
    whole = torch.from_numpy(material.pictures[:].copy()).permute(0, 3, 1, 2) / 127.5 - 1
    for picture in pictures:
        assert any(torch.allclose(picture, each, atol=1e-6) for each in whole)


def test_a_view_is_taken_once_and_is_what_the_unet_gave(material: Material, tmp_path: Path) -> None:
    passes: list[int] = []
    unet = material.miniature.unet
    views = Views(tmp_path, material.scenes, material.latents, material.miniature)
    handle = unet.register_forward_hook(lambda *_: passes.append(1))
    rows = [(5, VIEWS - 1), (6, VIEWS - 2)]
    try:
        together = views.features(rows, (3, 12))
        again = views.features(rows[::-1], (12,))
    finally:
        handle.remove()
    assert len(passes) == 1
    assert torch.equal(together[12].flip(0), again[12])
    assert together[3].shape == (2, 64, 4, 4)
    assert not torch.equal(together[3][0], together[3][1])


def test_views_of_a_scene_differ(material: Material) -> None:
    one, other = material.views.features([(0, 0), (0, 1)], (12,))[12]
    assert (one - other).abs().max() > 0.1


def test_held_out_features_are_those_of_a_probe_without_text(material: Material) -> None:
    held_out, miniature = material.held_out("iid"), material.miniature
    latents, features = held_out.given(DESIGNS["compact-best"], 0)
    assert features is not None
    taps = find_taps(miniature.unet, (12,))
    expected = miniature.probe(latents, [""], taps_of=lambda unet: taps).blocks[12]
    assert torch.allclose(features.blocks[12], expected, atol=2e-2)  # they are kept in float16
    assert material.held_out("gen").source == "sampling"


def _with_steps(material: Material, steps: int) -> Material:
    """The same material for trainings of another length."""
    other = copy(material)
    other.settings = replace(SETTINGS, steps=steps)
    return other


def _without_seconds(figures: CellFigures) -> CellFigures:
    return replace(figures, train_seconds=0.0, measure_seconds=0.0)
