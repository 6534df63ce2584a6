"""Heads of the full world learn from scenes without the things that are known by caption alone."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="training needs the extra `train`")

from ldznet_core.miniature import load_miniature
from ldznet_core.miniature.parts import WEIGHTS
from ldznet_core.training import Plan, SceneCache
from ldznet_core.training.head import HeadStage
from ldznet_core.world import caption_only_names


def test_a_head_never_sees_a_caption_only_thing(tmp_path: Path) -> None:
    scenes = SceneCache(tmp_path, "full", "train", 12, 64)
    hidden = {*caption_only_names("full")}
    shown = [{thing.name for thing in scenes.layout(index).things} for index in range(12)]
    assert any(names & hidden for names in shown)
    validation = SceneCache(tmp_path, "full", "validation", 12, 64)
    stage = HeadStage(scenes, validation, load_miniature(), WEIGHTS)
    plan = Plan(steps=10, batch=4, learning_rate=1e-3)
    for step in range(10):
        batch = stage.batch(plan, step, 0)
        words = " ".join([*batch["conditions"], *batch["phrases"]])
        assert not [name for name in hidden if f" {name} " in f" {words} "]
