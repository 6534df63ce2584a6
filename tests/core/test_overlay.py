"""Masks as pictures: colours where the mask is, and nothing anywhere else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ldznet_core.overlay import heatmap, mask_image, overlay, side_by_side
from ldznet_core.segmentation import Request, read_logits


def segmentation_of(masks: torch.Tensor):
    request = Request(tuple(f"phrase {n}" for n in range(len(masks))), (), 0.5)
    return read_logits((masks - 0.5) * 20, request, tuple(masks.shape[1:]), 0.5)


def test_a_mask_is_white_inside_and_black_outside() -> None:
    masks = torch.zeros(1, 4, 6)
    masks[0, 1, 2:5] = 1
    picture = mask_image(segmentation_of(masks), 0)
    assert (picture.mode, picture.size) == ("L", (6, 4))
    assert np.asarray(picture).tolist() == (masks[0] * 255).int().tolist()


def test_an_overlay_tints_the_inside_alone() -> None:
    masks = torch.zeros(1, 64, 64)
    masks[0, :, :32] = 1
    grey = Image.new("RGB", (64, 64), (100, 100, 100))
    pixels = np.asarray(overlay(grey, segmentation_of(masks), smallest_side=64))[:64]
    assert (pixels[:, 40:] == 100).all()
    assert (np.ptp(pixels[:, :24].astype(int), axis=2) > 50).all()


def test_an_absent_phrase_tints_nothing_and_is_said_below() -> None:
    grey = Image.new("RGB", (64, 64), (100, 100, 100))
    shown = overlay(grey, segmentation_of(torch.zeros(2, 64, 64)), smallest_side=64)
    assert (np.asarray(shown)[:64] == 100).all()
    assert shown.height > 64


def test_a_phrase_that_the_font_cannot_draw_is_named_by_its_number() -> None:
    grey, masks = Image.new("RGB", (64, 64)), torch.zeros(1, 64, 64)
    foreign, numbered = (
        overlay(grey, replace(segmentation_of(masks), phrases=(phrase,)))
        for phrase in ("\ube68\uac04 \ucc28", "phrase 1")
    )
    assert foreign.tobytes() == numbered.tobytes()


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    grey = Image.new("RGB", (50, 40))
    shown = overlay(grey, segmentation_of(torch.zeros(1, 40, 50)), smallest_side=100)
    assert shown.width == 150


def test_pictures_side_by_side_share_a_width() -> None:
    row = side_by_side([Image.new("RGB", (10, 20), "red"), Image.new("RGB", (20, 20), "blue")])
    assert row.size == (48, 40)


def heatmap_of(probabilities: list[list[list[float]]]) -> torch.Tensor:
    return heatmap(segmentation_of_probabilities(torch.tensor(probabilities)))


def segmentation_of_probabilities(probabilities: torch.Tensor):
    request = Request(tuple(f"phrase {n}" for n in range(len(probabilities))), (), 0.5)
    return read_logits(probabilities.logit(), request, tuple(probabilities.shape[1:]), 0.5)


RED = torch.tensor([255, 38, 103]) / 255
"""The first phrase's colour: hue 0.95, saturation 0.85, of full value."""


def test_a_heat_map_is_the_phrase_s_colour_as_bright_as_the_phrase_is_likely() -> None:
    light = heatmap_of([[[0.0, 0.25], [0.5, 1.0]]])
    expected = torch.tensor([[0.0, 0.25], [0.5, 1.0]])[..., None] * RED
    torch.testing.assert_close(light, expected, atol=1e-6, rtol=0)


def test_in_a_heat_map_the_likelier_phrase_gives_the_colour() -> None:
    light = heatmap_of([[[0.8, 0.1]], [[0.3, 0.6]]])
    torch.testing.assert_close(light[0, 0], 0.8 * RED, atol=1e-6, rtol=0)
    assert light[0, 1].max() == pytest.approx(0.6, abs=1e-6)
    colour = light[0, 1] / light[0, 1].max()
    assert (colour - RED).abs().max() > 0.3


def test_a_heat_map_s_colours_are_those_of_the_overlay() -> None:
    """Its legend shows each phrase's."""
    grey = Image.new("RGB", (64, 64), (100, 100, 100))
    drawn = overlay(grey, segmentation_of(torch.zeros(2, 64, 64)), smallest_side=64)
    for number in range(2):
        swatch = torch.tensor(drawn.getpixel((8, 64 + 4 + 5 + 16 * number))) / 255
        probabilities = torch.zeros(2, 1, 1)
        probabilities[number] = 1
        torch.testing.assert_close(heatmap_of(probabilities.tolist())[0, 0], swatch)


def test_a_heat_map_lies_between_0_and_1_and_keeps_the_size() -> None:
    probabilities = torch.rand(5, 7, 9, generator=torch.Generator().manual_seed(0))
    light = heatmap_of(probabilities.tolist())
    assert light.shape == (7, 9, 3)
    assert 0 <= light.min() < light.max() <= 1
    torch.testing.assert_close(light.amax(-1), probabilities.amax(0), atol=1e-6, rtol=0)
