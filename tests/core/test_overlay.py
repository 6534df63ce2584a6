"""Masks as pictures: colours where the mask is, and nothing anywhere else."""

import numpy as np
import torch
from PIL import Image

from ldznet_core.overlay import mask_image, overlay, side_by_side
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


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    grey = Image.new("RGB", (50, 40))
    shown = overlay(grey, segmentation_of(torch.zeros(1, 40, 50)), smallest_side=100)
    assert shown.width == 150


def test_pictures_side_by_side_share_a_width() -> None:
    row = side_by_side([Image.new("RGB", (10, 20), "red"), Image.new("RGB", (20, 20), "blue")])
    assert row.size == (48, 40)
