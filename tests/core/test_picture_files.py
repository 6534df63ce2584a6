"""Pictures of every kind that lie on disks, and what is said of those that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldznet_core import InputError
from ldznet_core.picture_files import check_picture, read_picture

from .tiny import picture

RED, WHITE = (255, 0, 0), (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_stands_upright_whatever_the_exif_data_say(orientation: int, tmp_path: Path) -> None:
    upright = Image.new("RGB", (32, 16), "white")
    upright.paste(RED, (0, 0, 16, 8))  # the upper left quarter
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.png", exif=exif)
    opened = read_picture(tmp_path / "x.png")
    assert opened.size == (16, 32)
    assert opened.image.size == (32, 16)
    assert opened.image.tobytes() == upright.tobytes()


def half_transparent() -> Image.Image:
    image = Image.new("RGBA", (8, 8), (*RED, 255))
    image.paste((0, 255, 0, 0), (0, 0, 4, 8))
    return image


def sixteen_bits() -> Image.Image:
    levels = np.full((8, 8), 65535, dtype=np.uint16)
    levels[:, :4] = 128 * 257
    return Image.fromarray(levels)


def thirty_two_bits() -> Image.Image:
    return Image.fromarray(np.asarray(sixteen_bits()).astype(np.int32))


def shares_of_white() -> Image.Image:
    return Image.fromarray((np.asarray(sixteen_bits()) / 65535).astype(np.float32))


LEFT_AND_RIGHT: dict[
    str, tuple[Callable[[], Image.Image], str, tuple[int, ...], tuple[int, ...]]
] = {
    "transparency": (half_transparent, "png", WHITE, RED),
    "16 bits": (sixteen_bits, "png", (128,) * 3, WHITE),
    "16 bits in TIFF": (sixteen_bits, "tiff", (128,) * 3, WHITE),
    "32 bits": (thirty_two_bits, "tiff", (128,) * 3, WHITE),
    "real numbers": (shares_of_white, "tiff", (128,) * 3, WHITE),
    "greys": (
        lambda: sixteen_bits().point(lambda level: level / 257).convert("L"),
        "png",
        (128,) * 3,
        WHITE,
    ),
    "black and white": (lambda: Image.new("1", (8, 8), 1), "png", WHITE, WHITE),
    "a palette": (lambda: half_transparent().convert("RGB").quantize(4), "png", (0, 255, 0), RED),
    "CMYK": (lambda: Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "tiff", RED, RED),
}


@pytest.mark.parametrize("kind", LEFT_AND_RIGHT)
def test_every_kind_becomes_rgb(kind: str, tmp_path: Path) -> None:
    build, form, left, right = LEFT_AND_RIGHT[kind]
    build().save(tmp_path / f"x.{form}")
    image = read_picture(tmp_path / f"x.{form}").image
    assert image.mode == "RGB"
    for x, expected in ((1, left), (6, right)):
        pixel = image.getpixel((x, 4))
        assert np.abs(np.subtract(pixel, expected)).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(1000, 600), (999, 601), (64, 2000)])
def test_a_large_jpeg_is_decoded_no_larger_than_need_be(
    width: int, height: int, tmp_path: Path
) -> None:
    picture(width, height).save(tmp_path / "x.jpg", quality=95)
    opened = read_picture(tmp_path / "x.jpg", enough_pixels=20_000)
    assert opened.size == (height, width)
    pixels = opened.image.width * opened.image.height
    assert 20_000 <= pixels < width * height / 3
    whole = read_picture(tmp_path / "x.jpg").image.resize(opened.image.size)
    assert np.abs(np.subtract(np.asarray(whole, float), np.asarray(opened.image))).mean() < 4


def test_a_rotated_jpeg_is_reduced_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1000, 600).save(tmp_path / "x.jpg", exif=exif)
    opened = read_picture(tmp_path / "x.jpg", enough_pixels=20_000)
    assert opened.size == (1000, 600)
    assert opened.image.height > opened.image.width


def test_a_small_picture_stays_as_it_is(tmp_path: Path) -> None:
    picture(30, 20).save(tmp_path / "x.png")
    opened = read_picture(tmp_path / "x.png", enough_pixels=10**6)
    assert opened.image.tobytes() == picture(30, 20).tobytes()


@pytest.mark.parametrize("limit", [100, 199, 250])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(24, 20).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for read in (read_picture, check_picture):
        with pytest.raises(InputError, match=f"at most {limit} pixels"):
            read(tmp_path / "x.png")


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"\xff\xd8\xff\xe0" + b"\0" * 9],
)
def test_what_is_no_picture_is_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(content)
    for read in (read_picture, check_picture):
        with pytest.raises(InputError, match=r"expected a picture in .*x\.png") as caught:
            read(tmp_path / "x.png")
        assert "\n" not in str(caught.value)


def test_a_picture_that_breaks_off_is_found_when_it_is_read(tmp_path: Path) -> None:
    picture(64, 64).save(tmp_path / "x.png")
    whole = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(whole[: len(whole) // 2])
    check_picture(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"x\.png"):
        read_picture(tmp_path / "x.png")


def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png"):
        check_picture(tmp_path / "gone.png")
