"""Views that are encoded once: what they give, and when they are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate", reason="training needs the extra `train`")

from ldznet_core.data_sets import Row
from ldznet_core.errors import InputError
from ldznet_core.training import train
from ldznet_core.training.data.examples import together
from ldznet_core.training.kept import fill
from ldznet_core.world.draw import Draw

from .pace import EACH
from .small_heads import OURS, PLAN, make, steps, weights_of

VIEWS = replace(PLAN, views=2, questions=0)


def test_they_are_encoded_once_and_give_what_the_model_gives(
    rows: list[Row], tmp_path: Path
) -> None:
    first = make(rows, tmp_path, VIEWS)
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "views").iterdir()}
    again = make(rows, tmp_path, VIEWS)
    assert changed == {path: path.stat().st_mtime_ns for path in (tmp_path / "views").iterdir()}
    one, other = (stage.batch(steps(), 3, 0) for stage in (first, again))
    assert one.keys() == other.keys() >= {"latents", "context", "masks", "features-6"}
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(one["masks"]) == len(one["context"]) == 2 * len(one["latents"])


def test_a_stopped_run_goes_on_with_them(rows: list[Row], tmp_path: Path) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train(make(rows, straight, VIEWS), steps(2 * EACH), straight, resume=False)
    train(make(rows, stopped, VIEWS), steps(2 * EACH, 0), stopped, resume=False)
    train(make(rows, stopped, VIEWS), steps(2 * EACH), stopped, resume=True)
    one, other = weights_of(straight), weights_of(stopped)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_losses_are_those_of_views_that_are_made_anew(rows: list[Row], tmp_path: Path) -> None:
    plan = replace(VIEWS, views=1)
    stage = make(rows, tmp_path, plan)
    anew = make(rows, tmp_path, replace(plan, views=0))
    examples = anew.batch.__self__  # type: ignore[attr-defined]
    numbers = [Draw("views", 0, 5, 0).below(len(examples))]
    made = [examples.example(number, Draw("view", 0, number)) for number in numbers]
    with torch.no_grad():
        kept = stage.objective(stage.batch(steps(), 5, 0))["loss"]
        fresh = stage.objective(together(made, "{}"))["loss"]
    assert kept == pytest.approx(float(fresh), rel=1e-2)  # half precision on disk


def test_an_interrupted_filling_goes_on(tmp_path: Path) -> None:
    encoded: list[int] = []

    def encode(index: int) -> dict[str, object]:
        if index == 70 and 70 not in encoded:
            encoded.append(index)
            raise KeyboardInterrupt
        encoded.append(index)
        return {"latents": torch.full((2,), index).numpy()}

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, "views", {"a": 1}, 100, encode)  # type: ignore[arg-type]
    views = fill(tmp_path, "views", {"a": 1}, 100, encode)  # type: ignore[arg-type]
    assert encoded == [*range(71), *range(64, 100)]
    assert views.rows(range(100))["latents"][:, 0].tolist() == list(range(100))


def test_other_settings_are_refused(rows: list[Row], tmp_path: Path) -> None:
    make(rows, tmp_path, VIEWS)
    others = [
        (replace(VIEWS, views=1), "count"),
        (replace(VIEWS, negatives=0.1), "negatives"),
        (replace(VIEWS, head=replace(OURS, taps=(6, 7))), "taps"),
    ]
    for plan, name in others:
        with pytest.raises(InputError, match=f"expected views of {name} .* found those of"):
            make(rows, tmp_path, plan)
    renamed = [replace(row, phrase=f"{row.phrase} toy") for row in rows]
    with pytest.raises(InputError, match="expected views of rows"):
        make(renamed, tmp_path, VIEWS)


def test_a_disk_without_room_is_told_before_it_is_full(rows: list[Row], tmp_path: Path) -> None:
    plan = replace(VIEWS, views=10**12)
    with pytest.raises(InputError, match=r"the disk has .* GB: lower --views"):
        make(rows, tmp_path, plan)
    assert not list((tmp_path / "views").glob("*.npy"))
