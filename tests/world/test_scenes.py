"""Pictures show their layout, and the label map is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ldznet_core.errors import InputError
from ldznet_core.world import (
    Scene,
    background_names,
    contact_sheet,
    draw_layout,
    render,
)
from ldznet_core.world.backgrounds import background_named, paint_background
from ldznet_core.world.tiles import MARGIN, STYLES, TILE, tile

SIDE = 128

# (split, index): the mean colour, and each region's pixels. The drawing runs through Pillow's
# resampling, which is the same to the bit in 9.5 and 13.0, but is not promised to be.
KNOWN = {
    ("train", 0): ([164.0, 166.2, 140.8], [4799, 1094, 5765, 2101, 2625]),
    ("train", 4): ([172.8, 133.9, 71.1], [13628, 1053, 1703]),
    ("validation", 3): ([68.5, 64.1, 96.8], [12717, 3667]),
    ("iid", 2): ([174.9, 105.8, 83.6], [14450, 876, 1058]),
    ("comb", 1): ([173.6, 137.9, 88.0], [14411, 1117, 856]),
    ("style", 6): ([63.5, 49.6, 96.6], [13140, 1579, 1665]),
    ("style", 10): ([65.3, 40.5, 68.5], [11042, 3137, 2205]),
}


# The same of the full world, 64 pixels a side.
KNOWN_FULL = {
    ("train", 13): ([114.8, 152.6, 148.3], [1047, 648, 1502, 174, 377, 219, 129]),
    ("iid", 3): ([162.3, 191.5, 170.2], [1515, 1571, 1010]),
    ("comb", 8): ([131.7, 151.0, 123.2], [1138, 607, 1564, 71, 148, 317, 251]),
    ("style", 5): ([148.1, 102.9, 61.1], [3004, 511, 581]),
    ("caption-only", 2): ([130.0, 166.0, 141.2], [1333, 795, 1267, 125, 147, 242, 187]),
}


def scenes(split: str, count: int) -> list[Scene]:
    return [render(draw_layout("small", split, index), SIDE) for index in range(count)]


def areas(scene: Scene) -> list[int]:
    return np.bincount(scene.labels.ravel(), minlength=len(scene.regions)).tolist()


@pytest.mark.parametrize("known", KNOWN)
def test_scenes_look_as_they_always_did(known: tuple[str, int]) -> None:
    scene = render(draw_layout("small", *known), SIDE)
    colour, pixels = KNOWN[known]
    np.testing.assert_allclose(scene.image.mean((0, 1)), colour, atol=0.5)
    np.testing.assert_allclose(areas(scene), pixels, atol=12)


@pytest.mark.parametrize("known", KNOWN_FULL)
def test_scenes_of_the_full_world_look_as_they_always_did(known: tuple[str, int]) -> None:
    scene = render(draw_layout("full", *known), 64)
    colour, pixels = KNOWN_FULL[known]
    np.testing.assert_allclose(scene.image.mean((0, 1)), colour, atol=0.5)
    np.testing.assert_allclose(areas(scene), pixels, atol=6)


@pytest.mark.parametrize("name", background_names("full"))
def test_each_background_shows_all_of_its_stuff(name: str) -> None:
    for seed in range(30):
        picture, labels = paint_background(name, seed, 64)
        assert picture.shape == (64, 64, 3)
        shares = np.bincount(labels.ravel(), minlength=1) / labels.size
        assert len(shares) == len(background_named(name).stuff)
        assert shares.min() > 0.02


def test_shapes_and_types() -> None:
    scene = render(draw_layout("small", "train", 0), 96)
    assert (scene.image.shape, scene.image.dtype) == ((96, 96, 3), np.uint8)
    assert (scene.labels.shape, scene.labels.dtype) == ((96, 96), np.uint8)
    assert scene.labels.max() < len(scene.regions)


def test_drawing_twice_gives_the_same_pixels() -> None:
    one, other = (render(draw_layout("small", "comb", 5), SIDE) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("split", ["train", "style"])
def test_a_things_area_is_that_of_its_tile(split: str) -> None:
    """The tile's solid share, scaled: a formula that knows nothing of how scenes are drawn."""
    for scene in scenes(split, 60):
        if len(scene.layout.things) > 1:
            continue
        (thing,) = scene.layout.things
        alpha = np.asarray(tile(thing.name, thing.colour, scene.layout.style).getchannel("A"))
        expected = (alpha >= 128).sum() * (thing.scale * SIDE / (TILE - 2 * MARGIN)) ** 2
        outside = 0.03 * expected  # a turned corner may leave the picture
        assert areas(scene)[-1] == pytest.approx(expected, abs=outside + 0.02 * expected)


def test_a_mask_stands_where_its_layout_says() -> None:
    for scene in scenes("train", 60):
        for index, region in enumerate(scene.regions):
            if region.thing is None:
                continue
            thing = scene.layout.things[region.thing]
            rows, columns = np.nonzero(scene.labels == index)
            middle = ((rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2)
            reach = 0.13 * thing.scale * SIDE  # a turned shape's box is not centred on its axis
            assert math.dist(middle, (thing.centre_y * SIDE, thing.centre_x * SIDE)) < reach


def test_masks_agree_with_those_of_a_larger_drawing() -> None:
    for index in range(12):
        layout = draw_layout("small", "comb", index)
        small, large = render(layout, SIDE).labels, render(layout, 4 * SIDE).labels
        assert (small == large[2::4, 2::4]).mean() > 0.98


def test_the_picture_changes_across_a_masks_edge() -> None:
    """Pixels inside a thing are its own: far from the same background drawn without it."""
    for scene in scenes("train", 20):
        layout = scene.layout
        empty = type(layout)(
            **{name: getattr(layout, name) for name in layout.__slots__} | {"things": ()}
        )
        difference = np.abs(scene.image.astype(int) - render(empty, SIDE).image).max(-1)
        inside = np.isin(
            scene.labels, [i for i, r in enumerate(scene.regions) if r.kind == "thing"]
        )
        assert (difference[inside] > 12).mean() > 0.85
        assert (difference[~inside] > 90).mean() < 0.06


@pytest.mark.parametrize("style", STYLES)
def test_paint_changes_colours_and_not_the_shape(style: str) -> None:
    red, blue = (np.asarray(tile("balloon", colour, style), int) for colour in ("red", "blue"))
    np.testing.assert_array_equal(red[..., 3], blue[..., 3])
    solid = red[..., 3] == 255
    assert (red[solid][:, 0] > red[solid][:, 2]).mean() > 0.8
    assert (blue[solid][:, 2] > blue[solid][:, 0]).mean() > 0.8


def test_a_sheet_holds_every_scene_and_mask() -> None:
    assert contact_sheet(scenes("iid", 5), columns=2).size == (4 * SIDE, 3 * (SIDE + 14))


def test_a_side_too_small_is_refused() -> None:
    with pytest.raises(InputError, match="at least 32"):
        render(draw_layout("small", "train", 0), 8)
