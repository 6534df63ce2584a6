"""Pictures out of JSON and into it: what is let in, what is refused, and how early."""

from __future__ import annotations

import base64
import io
import struct
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from ldznet_core import InputError
from ldznet_webui.wire import picture_of, text_of

SIZE = (24, 16)  # PIL's order


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A picture that is nowhere the same, up to the right least of all."""
    height, width = SIZE[::-1]
    pixels = np.random.default_rng(0).integers(0, 80, (height, width, 3), np.uint8)
    pixels[: height // 2, width // 2 :] = (250, 40, 40)
    return Image.fromarray(pixels)


def data(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def text(payload: bytes) -> str:
    return base64.b64encode(payload).decode("ascii")


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG of this size, whose pixels are not worth decoding."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"none")


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and one.size == other.size and one.tobytes() == other.tobytes()


class TestPicturesThatComeIn:
    @pytest.mark.parametrize("form", ["PNG", "BMP"])
    def test_they_are_those_that_were_sent(self, picture: Image.Image, form: str) -> None:
        assert same(picture_of(text(data(picture, form))), picture)

    @pytest.mark.parametrize("form", ["JPEG", "WEBP"])
    def test_forms_that_lose_something_come_in_too(self, picture: Image.Image, form: str) -> None:
        if form == "WEBP" and not features.check("webp"):
            pytest.skip("this Pillow was built without WebP")
        sent = data(picture, form)
        with Image.open(io.BytesIO(sent)) as expected:
            assert same(picture_of(text(sent)), expected.convert("RGB"))

    def test_the_prefix_of_a_data_url_is_not_part_of_them(self, picture: Image.Image) -> None:
        payload = text(data(picture))
        for prefix in ("data:image/png;base64,", "data:;base64,", "data:image/x;name=a;base64,"):
            assert same(picture_of(prefix + payload), picture)

    def test_base64_may_be_broken_into_lines(self, picture: Image.Image) -> None:
        assert same(picture_of("\r\n".join(textwrap.wrap(text(data(picture)), 76))), picture)

    def test_they_are_turned_as_their_camera_was(self, picture: Image.Image) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter, clockwise
        found = picture_of(text(data(picture, exif=exif)))
        assert same(found, picture.transpose(Image.Transpose.ROTATE_270))

    def test_what_is_transparent_becomes_white(self) -> None:
        clear = Image.new("RGBA", SIZE, (200, 0, 0, 0))
        assert same(picture_of(text(data(clear))), Image.new("RGB", SIZE, "white"))

    def test_greys_of_8_and_16_bits_keep_their_light(self) -> None:
        grey = Image.new("RGB", SIZE, (100, 100, 100))
        assert same(picture_of(text(data(grey.convert("L")))), grey)
        deep = Image.fromarray(np.full(SIZE[::-1], 100 * 257, np.uint16))
        assert same(picture_of(text(data(deep))), grey)


class TestWhatIsNoPicture:
    @pytest.fixture
    def file(self, picture: Image.Image, tmp_path: Path) -> Path:
        """A picture on the server."""
        picture.save(tmp_path / "abcd.png")
        return tmp_path / "abcd.png"

    @pytest.mark.parametrize("form", ["{}", "file://{}", "data:{};base64,", "data:image/png,{}"])
    def test_paths_are_not_opened(self, file: Path, form: str) -> None:
        with pytest.raises(InputError, match="paths and addresses are not opened"):
            picture_of(form.format(file))

    @pytest.mark.parametrize(
        "name", ["/etc/passwd", "/etc/passwd/", "../a", "C:\\a.png", "http://127.0.0.1:1/a.png", ""]
    )
    def test_neither_are_names_of_other_kinds(self, name: str) -> None:
        with pytest.raises(InputError, match="in base64 as image, got") as caught:
            picture_of(name)
        assert repr(name) in str(caught.value)

    @pytest.mark.parametrize("value", [None, 3, ["a"], {"a": 1}, True])
    def test_values_that_are_no_text_are_refused(self, value: object) -> None:
        with pytest.raises(InputError, match=f"got {type(value).__name__}"):
            picture_of(value)

    @pytest.mark.parametrize("form", ["GIF", "TIFF", "PPM", "PCX"])
    def test_forms_that_the_web_does_not_use_are_refused(
        self, picture: Image.Image, form: str
    ) -> None:
        with pytest.raises(InputError, match="expected a whole PNG, JPEG, WEBP, BMP picture"):
            picture_of(text(data(picture, form)))

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
    def test_a_picture_cut_short_is_refused(self, picture: Image.Image, form: str) -> None:
        whole = data(picture, form)
        for length in (10, len(whole) // 2):
            with pytest.raises(InputError, match="expected a whole"):
                picture_of(text(whole[:length]))

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_noise_and_damage_are_refused_or_decoded_and_nothing_else(
        self, picture: Image.Image
    ) -> None:
        random = np.random.default_rng(1)
        for form in ("PNG", "JPEG", "BMP"):
            whole = np.frombuffer(data(picture, form), np.uint8)
            for _ in range(60):
                damaged = whole.copy()
                damaged[random.integers(len(whole), size=4)] = random.integers(256, size=4)
                try:
                    picture_of(text(damaged.tobytes()))
                except InputError as error:
                    assert len(str(error)) < 300  # noqa: PT017  what else is raised fails the test

    def test_a_long_text_is_not_sent_back(self) -> None:
        with pytest.raises(InputError) as caught:
            picture_of("A" * 10_000)
        assert len(str(caught.value)) < 300


class TestPicturesTooLarge:
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize(
        ("width", "height"), [(20_000, 10_000), (10_000, 10_000), (4097, 4096), (8193, 1)]
    )
    def test_they_are_refused_by_their_beginning(self, width: int, height: int) -> None:
        with pytest.raises(InputError, match="expected a picture of at most 16777216 pixels"):
            picture_of(text(png(width, height)))

    @pytest.mark.parametrize(("width", "height"), [(8192, 1), (513, 1), (1, 513), (15, 8192)])
    def test_strips_are_refused_too(self, width: int, height: int) -> None:
        with pytest.raises(InputError, match="512 times as long as it is wide, got"):
            picture_of(text(png(width, height)))

    @pytest.mark.parametrize(
        ("width", "height"), [(4096, 4096), (8192, 2048), (16, 8192), (512, 1), (1, 1)]
    )
    def test_the_largest_and_the_longest_go_on_to_be_decoded(self, width: int, height: int) -> None:
        with pytest.raises(InputError, match="expected a whole"):
            picture_of(text(png(width, height)))


def test_masks_go_out_as_png_of_their_own_mode() -> None:
    mask = Image.fromarray(np.eye(5, dtype=np.uint8) * 255)
    with Image.open(io.BytesIO(base64.b64decode(text_of(mask)))) as sent:
        assert sent.format == "PNG"
        assert same(sent, mask)
