"""The map of a whole prompt, measured: it is heard while the picture stays, and judged fairly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.evaluation.cases import Case, cases
from ldznet_core.evaluation.tables import as_table
from ldznet_core.evaluation.training_free.whole_prompt import (
    AS_SHIPPED,
    WINDOWS,
    Painting,
    compare,
    generated,
    maps_of,
    restored,
)
from ldznet_core.metrics.overlap import overlap
from ldznet_core.miniature import Miniature
from ldznet_core.training_free.whole_prompt import WINDOW, segment_prompt

STEPS = 6


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


@pytest.fixture(scope="module", params=["miniature", "miniature-compact"])
def trained(miniature: Miniature, request: pytest.FixtureRequest) -> Segmenter:
    return Segmenter(miniature, load_head(request.param))


@pytest.fixture(scope="module")
def case() -> Case:
    return list(cases("small", "iid", 4, 128))[3]


@pytest.fixture(scope="module")
def painting(miniature: Miniature, case: Case) -> Painting:
    return restored(miniature, case, seed=0, steps=STEPS)


def test_a_restored_scene_keeps_its_truth_and_looks_like_itself(
    painting: Painting, case: Case
) -> None:
    assert painting.prompt == "a red car in a meadow"
    things = [phrase for phrase in case.phrases if phrase.regions and not case.is_stuff(phrase)]
    for phrase in things:
        assert painting.things[case.mask(phrase)].all()
    assert 0 < painting.things.mean() < 0.5
    error = np.abs(np.asarray(painting.image, np.float64) - case.scene.image).mean()
    assert error < 50


def test_listening_changes_no_picture_and_leaves_no_hook(
    miniature: Miniature, trained: Segmenter, case: Case
) -> None:
    heard = generated(miniature, trained, case, seed=3, steps=STEPS)
    plain = miniature.generate(heard.prompt, seed=3, steps=STEPS)
    assert torch.equal(heard.latents, plain.latents)
    assert len(miniature.unet._forward_hooks) == 0
    assert set(heard.differences) == set(WINDOWS)


def test_every_map_is_of_the_picture_s_latents(painting: Painting) -> None:
    maps = maps_of(painting)
    assert len(maps) == len(WINDOWS) + 4
    for name, answer in maps.items():
        assert answer.maps.shape == (1, 16, 16), name
        assert bool(answer.maps.isfinite().all()), name


def test_the_figures_of_what_is_shipped_are_those_of_its_own_mask(
    miniature: Miniature, trained: Segmenter, case: Case, painting: Painting
) -> None:
    found = compare(miniature, trained, "restored", [case], [case], STEPS)
    mask = segment_prompt(painting.differences[WINDOW]).masks[0].numpy() > 0.5
    assert found[AS_SHIPPED]["mIoU"] == pytest.approx(overlap(mask, painting.things).iou)
    assert found["control: everything"]["mIoU"] == pytest.approx(painting.things.mean())
    lines = as_table("map", found).splitlines()
    assert lines[0] == "| map | AP | mIoU | mask at |"
    assert len(lines) == 2 + len(found)
