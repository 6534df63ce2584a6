"""Pictures on their way in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ldznet_core.errors import InputError
from ldznet_core.pictures import pad_picture, scale_to_area, size_of, to_picture

from .tiny import picture

MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
WIDE_MODES = ["LAB", "I", "F", "I;16", "I;16B"]


@pytest.mark.parametrize("mode", MODES + WIDE_MODES)
def test_every_mode_becomes_rgb_of_the_same_size(mode: str) -> None:
    converted = to_picture(Image.new(mode, (5, 3)))
    assert (converted.mode, converted.size) == ("RGB", (5, 3))


def test_what_is_transparent_becomes_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert np.asarray(to_picture(image)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = Image.new("P", (1, 1), 3)
    image.info["transparency"] = 3
    assert to_picture(image).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_become_eight() -> None:
    image = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    assert np.asarray(to_picture(image))[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize(
    ("levels", "dtype"),
    [([0, 257 * 100, 65535], np.int32), ([0, 100, 255], np.int32), ([0.0, 100 / 255, 1.0], "f4")],
)
def test_so_do_wide_greys_that_hold_16_bits_8_bits_or_shares_of_white(
    levels: list[float], dtype: str
) -> None:
    image = Image.fromarray(np.array([levels], dtype=dtype))
    assert image.mode in ("I", "F")
    assert np.asarray(to_picture(image))[0, :, 0].tolist() == [0, 100, 255]


def test_wide_greys_with_a_transparent_level_stay_what_they_are() -> None:
    image = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.int32))
    image.info["transparency"] = 0
    assert np.asarray(to_picture(image))[0, :, 0].tolist() == [0, 100, 255]


def test_array_tensor_and_image_of_one_picture_are_the_same() -> None:
    image = picture(7, 5)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    for form in (image, array, array[:, ::-1][:, ::-1], tensor, tensor.double()):
        assert np.array_equal(np.asarray(to_picture(form)), array)


def test_half_precision_pictures_are_good_to_one_level() -> None:
    array = np.asarray(picture(7, 5))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    levels = np.asarray(to_picture(tensor.half())).astype(int)
    assert abs(levels - array).max() <= 1


@pytest.mark.parametrize(
    "image",
    [
        "photo.png",
        None,
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        torch.zeros(3, 4, 4),
        torch.zeros(2, 3, 4, 4),
        torch.zeros(1, 4, 4, 3),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 3, 0, 4),
        torch.full((1, 3, 4, 4), 255.0),
        torch.full((1, 3, 4, 4), float("nan")),
        Image.new("RGB", (0, 4)),
    ],
)
def test_what_is_no_picture_is_refused(image: object) -> None:
    with pytest.raises(InputError, match="expected a PIL image"):
        to_picture(image)  # type: ignore[arg-type]  # wrong on purpose


def test_the_size_is_height_then_width() -> None:
    assert size_of(Image.new("RGB", (5, 3))) == (3, 5)


@pytest.mark.parametrize(
    ("size", "scaled"),
    [((64, 64), (64, 64)), ((128, 128), (64, 64)), ((256, 64), (128, 32)), ((1, 1), (64, 64))],
)
def test_scaling_keeps_the_proportions(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert scale_to_area(Image.new("RGB", size), 64).size == scaled


def test_a_line_keeps_a_pixel_of_height() -> None:
    assert scale_to_area(Image.new("RGB", (20000, 1)), 64).height == 1


def test_a_picture_of_the_right_area_stays_as_it_is() -> None:
    image = picture(64, 64)
    assert scale_to_area(image, 64) is image
    assert pad_picture(image, 8) is image


def test_padding_repeats_the_edge_at_the_bottom_and_the_right() -> None:
    image = picture(7, 5)
    padded = np.asarray(pad_picture(image, 4))
    assert padded.shape == (8, 8, 3)
    assert np.array_equal(padded[:5, :7], np.asarray(image))
    assert np.array_equal(padded[5:, :7], np.asarray(image)[[4, 4, 4]])
    assert np.array_equal(padded[:, 7], padded[:, 6])
