"""An RGB judge that knows no diffusion model, and what it says of the miniature's masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.evaluation.painted import every_tap
from ldznet_core.evaluation.pictures.agreement import Agreement, Painted, Way, agree, ways_of
from ldznet_core.evaluation.pictures.rgb_judge import RGBJudge, sorts_of, train_rgb_judge
from ldznet_core.miniature import Miniature
from ldznet_core.training import SceneCache
from ldznet_core.world import Draw, draw_layout, render
from ldznet_core.world.backgrounds import background_named

SIDE = 64


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> tuple[SceneCache, SceneCache]:
    folder = tmp_path_factory.mktemp("scenes")
    return (
        SceneCache(folder, "small", "train", 96, SIDE),
        SceneCache(folder, "small", "validation", 24, SIDE),
    )


@pytest.fixture(scope="module")
def judge(caches: tuple[SceneCache, SceneCache]) -> RGBJudge:
    return train_rgb_judge(*caches, steps=80, batch=8)


def test_it_learns_what_pixels_show(judge: RGBJudge, caches: tuple[SceneCache, SceneCache]) -> None:
    names = [
        [region.name for region in render(caches[1].layout(index), SIDE).regions]
        for index in range(24)
    ]
    labels = caches[1].labels()
    shown = [
        name
        for each, label in zip(names, labels, strict=True)
        for name in np.array(each)[label].ravel()
    ]
    most_common = max(np.unique(shown, return_counts=True)[1]) / len(shown)
    assert judge.accuracy > 1.8 * most_common


def test_the_same_scenes_make_the_same_judge(
    judge: RGBJudge, caches: tuple[SceneCache, SceneCache]
) -> None:
    one, other = (train_rgb_judge(*caches, steps=3, batch=4) for _ in range(2))
    states = zip(
        one.network.state_dict().values(), other.network.state_dict().values(), strict=True
    )
    assert all(torch.equal(left, right) for left, right in states)
    assert one.accuracy == other.accuracy


def test_a_pixel_can_be_any_thing_in_its_colours_or_any_stuff() -> None:
    sorts = sorts_of("small")
    assert len(sorts) == len(set(sorts)) == 9 + 3 + 5 + 4 + 8
    assert {("car", "red"), ("owl", None), ("sand", None)} <= set(sorts)
    assert ("car", None) not in sorts
    for index in range(40):
        layout = draw_layout("small", "iid", index)
        assert {(thing.name, thing.colour) for thing in layout.things} <= set(sorts)


def test_a_noun_means_the_thing_in_any_colour() -> None:
    sorts = sorts_of("small")
    judge = RGBJudge(sorts, nn.Identity(), 1.0)
    seen = np.array([[sorts.index(("car", "red")), sorts.index(("car", "blue"))]])
    assert judge.mask(seen, "car", None).tolist() == [[True, True]]
    assert judge.mask(seen, "car", "red").tolist() == [[True, False]]
    assert not judge.mask(seen, "owl", None).any()


def test_it_names_every_pixel_of_a_picture(judge: RGBJudge) -> None:
    noise = Draw("noise").grid(96 * 3, 128).reshape(96, 128, 3)
    seen = judge.look(Image.fromarray(((noise + 1) * 127).astype(np.uint8)))
    assert seen.shape == (96, 128)
    assert seen.max() < len(judge.sorts)


OWN = {"miniature": 400, "miniature-compact": 100, "training-free": 100}
"""Where each head wants to see features."""


def others(head: str) -> list[str]:
    latents = [] if head == "training-free" else ["by the sampler's latents"]
    timesteps = [t for t in (400, 300, 200, 100) if t != OWN[head]]
    captured = [f"captured at t = {t}" for t in timesteps]
    return [*latents, "by a probe of the picture", *captured]


WAYS = [name for head in OWN for name in (head, *(f"{head}, {way}" for way in others(head)))]


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


@pytest.fixture(scope="module")
def ways(miniature: Miniature) -> dict[str, Way]:
    return ways_of({name: Segmenter(miniature, load_head(name)) for name in OWN})


@pytest.fixture(scope="module")
def agreed(
    miniature: Miniature, judge: RGBJudge, ways: dict[str, Way]
) -> tuple[Painted, dict[str, Agreement]]:
    return agree(miniature, ways, judge, "small", 3, steps=10, guidance=5.0)


def test_heads_that_read_latents_are_asked_with_those_of_picture_and_sampler(
    miniature: Miniature, ways: dict[str, Way]
) -> None:
    assert list(ways) == WAYS
    made = miniature.generate("a red car", seed=0, steps=10, taps_of=every_tap)
    by_picture, by_sampler = (ways[name](made, ["red car"]).logits for name in WAYS[6:8])
    assert not torch.allclose(by_picture, by_sampler, atol=1e-2)


@pytest.mark.parametrize("head", ["miniature-compact", "training-free"])
def test_each_way_reads_where_its_name_says(
    miniature: Miniature, ways: dict[str, Way], head: str
) -> None:
    made = miniature.generate("a red car", seed=0, steps=20, taps_of=every_tap, window=(0.0, 500.0))
    read = {
        name.removeprefix(f"{head}, "): (answer.source, round(answer.timestep or 0, -2))
        for name, way in ways.items()
        if name.startswith(head) and (answer := way(made, ["red car"]))
    }
    elsewhere = {f"captured at t = {t}": ("sampling", t) for t in (400, 300, 200)}
    assert read.pop(head) == ("sampling", 100)
    assert read.pop("by a probe of the picture") == ("probe", 100)
    assert elsewhere.items() <= read.items()


@pytest.mark.parametrize("way", WAYS)
def test_all_that_prompts_are_about_is_counted_once(
    agreed: tuple[Painted, dict[str, Agreement]], way: str
) -> None:
    painted, found = agreed[0], agreed[1][way]
    layouts = [draw_layout("small", "iid", index) for index in range(3)]
    named = [{(thing.name, thing.colour) for thing in layout.things} for layout in layouts]
    stuff = [background_named(layout.background).stuff for layout in layouts]
    for told, asked, seen in (
        (found.things, named, painted.things),
        (found.stuff, stuff, painted.stuff),
    ):
        assert len(seen) == sum(map(len, asked))
        assert len(told.overlaps) == len(told.found) == sum(seen)
        assert len(told.denied) == len(seen) - sum(seen)
    assert sum(map(len, painted.whole.values())) == 3
    assert all(0 <= share <= 1 for name, share in found.summary().items() if "miou" in name)
