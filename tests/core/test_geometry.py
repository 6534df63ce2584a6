"""Where a mask lies: from a picture of any size through latents and back, nothing moves.

The model here sees brightness: a latent is the mean of its 8x8 pixels, and a head that finds what
is bright. So the right mask of every picture is known, and where its cells fall on whole pixels it
is known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, example, given, reject, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from ldznet_core.capture import Features
from ldznet_core.errors import InputError
from ldznet_core.frames import STRIDE, pad_to_multiple, padded_side
from ldznet_core.head import HeadConfig
from ldznet_core.picture_files import read_picture
from ldznet_core.pictures import pad_picture, scale_to_area, size_of
from ldznet_core.preprocessing import working_picture
from ldznet_core.procedure import Preprocess, Procedure
from ldznet_core.segmenter import Segmenter
from ldznet_core.unet import UNetConfig

Pattern = npt.NDArray[np.bool_]

ORIENTATION = 0x0112
EXAMPLES = settings(max_examples=60, deadline=None)


class Eye:
    """A backbone whose latents are brightness, from -1 to 1."""

    family = "eye"
    stride = STRIDE

    def encode_image(self, image: Image.Image) -> Tensor:
        levels = torch.from_numpy(np.asarray(image, dtype=np.float32)).mean(dim=2)
        assert not levels.shape[0] % STRIDE
        assert not levels.shape[1] % STRIDE
        cells = levels.unflatten(0, (-1, STRIDE)).unflatten(2, (-1, STRIDE)).mean(dim=(1, 3))
        return (cells / 127.5 - 1).expand(1, 4, -1, -1)

    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        return torch.zeros(len(phrases), 77, 8)

    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = 400.0,
        generator: torch.Generator | None = None,
    ) -> Features:
        raise AssertionError("a head without taps needs no probe")


class Finder:
    """A head that finds what is brighter than grey, each latent for itself."""

    def __init__(self, image_side: int) -> None:
        sizes = UNetConfig(out_channels=1, context_dim=8)
        self.config = HeadConfig(
            family="eye", unet=sizes, taps=(), image_side=image_side, presence_threshold=1e-6
        )

    def __call__(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        cells = 4 * latents[:, :1].expand(len(context), -1, -1, -1)
        return cells.repeat_interleave(STRIDE, dim=2).repeat_interleave(STRIDE, dim=3)


def mask_of(
    image: Image.Image,
    image_side: int,
    preprocess: Preprocess = "fit",
    size: tuple[int, int] | None = None,
) -> Pattern:
    segmenter = Segmenter(Eye(), Finder(image_side), procedure=Procedure(preprocess=preprocess))
    mask = segmenter.segment_image(image, ["light"], size=size).masks[0].numpy() == 1
    assert mask.shape == (size or size_of(image))
    return mask


def painted(pattern: Pattern) -> Image.Image:
    """White where the pattern is, else black."""
    return Image.fromarray(np.where(pattern, 255, 0).astype(np.uint8)).convert("RGB")


def tiled(tiles: Pattern, side: float, size: tuple[int, int] | None = None) -> Pattern:
    """The pattern with tiles of a side, from the top left corner on, cut to a size."""
    height, width = size or (round(side * tiles.shape[0]), round(side * tiles.shape[1]))
    rows = (np.arange(height) / side).astype(int)
    columns = (np.arange(width) / side).astype(int)
    return tiles[rows][:, columns]


@st.composite
def patterns(draw: st.DrawFn, height: int, width: int) -> Pattern:
    bits = draw(st.integers(0, 2 ** (height * width) - 1))
    flat = np.array([bits >> place & 1 for place in range(height * width)], dtype=bool)
    return flat.reshape(height, width)


class TestExactly:
    @pytest.mark.parametrize("grid", [(8, 8), (4, 16), (16, 4), (2, 32)])
    @pytest.mark.parametrize("scale", [1 / 4, 1 / 2, 1, 2])
    @given(data=st.data())
    @settings(max_examples=8, deadline=None)
    def test_tiles_that_become_latents_come_back_as_they_were(
        self, grid: tuple[int, int], scale: float, data: st.DataObject
    ) -> None:
        """Pictures of 8x8-pixel tiles at a scale at which scaling brings every tile to 8x8."""
        pattern = tiled(data.draw(patterns(*grid)), STRIDE * scale)
        assert (mask_of(painted(pattern), 64) == pattern).all()

    @pytest.mark.parametrize("grid", [(8, 8), (4, 16), (16, 4)])
    @pytest.mark.parametrize("scale", [3, 4, 7])
    @given(data=st.data())
    @settings(max_examples=8, deadline=None)
    def test_so_do_stripes_in_larger_pictures(
        self, grid: tuple[int, int], scale: int, data: st.DataObject
    ) -> None:
        """There the corners of tiles come back rounded, for logits are resized bilinearly."""
        rows, columns = data.draw(patterns(grid[0], 1)), data.draw(patterns(1, grid[1]))
        for stripes in (np.broadcast_to(rows, grid), np.broadcast_to(columns, grid)):
            pattern = tiled(stripes, STRIDE * scale)
            assert (mask_of(painted(pattern), 64) == pattern).all()

    @given(height=st.integers(1, 130), width=st.integers(1, 130), data=st.data())
    @example(height=1, width=1, data=None)
    @EXAMPLES
    def test_whatever_is_padded_is_cut_off_again(
        self, height: int, width: int, data: st.DataObject | None
    ) -> None:
        """Pictures that keep their size, most of which end in the midst of a latent."""
        side = max(STRIDE, round(math.sqrt(height * width)))
        assume(scale_to_area(Image.new("RGB", (width, height)), side).size == (width, height))
        grid = math.ceil(height / STRIDE), math.ceil(width / STRIDE)
        tiles = data.draw(patterns(*grid)) if data else np.ones(grid, dtype=bool)
        pattern = tiled(tiles, STRIDE, (height, width))
        assert (mask_of(painted(pattern), side) == pattern).all()

    @given(height=st.integers(1, 40), width=st.integers(1, 40), data=st.data())
    @EXAMPLES
    def test_latents_of_any_size_are_8_pixels_each(
        self, height: int, width: int, data: st.DataObject
    ) -> None:
        cells = data.draw(patterns(height, width))
        latents = torch.where(torch.from_numpy(cells), 1.0, -1.0).expand(1, 4, -1, -1)
        found = Segmenter(Eye(), Finder(64)).segment_latents(latents, ["light"])
        assert (found.masks[0].numpy() == tiled(cells, STRIDE)).all()

    @given(height=st.integers(1, 70), width=st.integers(1, 70), multiple=st.integers(1, 64))
    @EXAMPLES
    def test_padding_keeps_the_origin_and_repeats_the_edge(
        self, height: int, width: int, multiple: int
    ) -> None:
        """Of pictures and of latents alike: every new place is the nearest old one."""
        values = np.arange(height * width).reshape(height, width)
        rows = np.minimum(np.arange(padded_side(height, multiple)), height - 1)
        columns = np.minimum(np.arange(padded_side(width, multiple)), width - 1)
        expected = values[rows][:, columns]
        levels = np.stack([values % 251, values // 251, values % 7], axis=2).astype(np.uint8)
        picture = np.asarray(pad_picture(Image.fromarray(levels), multiple))
        assert (picture == levels[rows][:, columns]).all()
        latents = pad_to_multiple(torch.from_numpy(values).float()[None, None], multiple)
        assert (latents[0, 0].numpy() == expected).all()


Box = tuple[float, ...]
"""Top, bottom, left and right."""


@st.composite
def framed_boxes(draw: st.DrawFn, largest: int) -> tuple[tuple[int, int], Box]:
    """A picture's size, and a box in it."""
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    top, bottom = sorted((draw(st.integers(0, height)), draw(st.integers(0, height))))
    left, right = sorted((draw(st.integers(0, width)), draw(st.integers(0, width))))
    return (height, width), (top, bottom, left, right)


class TestNearly:
    """Boxes anywhere in pictures of any size: their edges blur, but do not move."""

    @given(framed=framed_boxes(400), preprocess=st.sampled_from(["fit", "official"]))
    @example(framed=((1, 1), (0, 1, 0, 1)), preprocess="fit")
    @example(framed=((399, 3), (200, 399, 0, 3)), preprocess="fit")
    @example(framed=((97, 301), (0, 50, 150, 301)), preprocess="official")
    @EXAMPLES
    def test_a_mask_lies_where_the_box_does(
        self, framed: tuple[tuple[int, int], Box], preprocess: Preprocess
    ) -> None:
        size, box = framed
        image = painted(boxed(size, box))
        try:
            working = working_picture(image, 128, preprocess)
        except InputError:  # too long and narrow for the official sizes
            reject()
        assert_lies_on(mask_of(image, 128, preprocess), box, size_of(working))

    @given(framed=framed_boxes(200), height=st.integers(1, 300), width=st.integers(1, 300))
    @EXAMPLES
    def test_a_mask_of_another_size_shows_the_same_part(
        self, framed: tuple[tuple[int, int], Box], height: int, width: int
    ) -> None:
        size, box = framed
        image = painted(boxed(size, box))
        mask = mask_of(image, 128, size=(height, width))
        factors = (height / size[0], height / size[0], width / size[1], width / size[1])
        moved = tuple(factor * edge for factor, edge in zip(factors, box, strict=True))
        assert_lies_on(mask, moved, size_of(scale_to_area(image, 128)))

    @pytest.mark.parametrize("size", [(64, 64), (301, 97), (50, 333)])
    def test_a_picture_turned_gives_a_mask_turned(self, size: tuple[int, int]) -> None:
        """Of squares exactly; of others, whose sides round alike, up to the blur of edges."""
        pattern = boxed(size, (0, size[0] // 2, 0, size[1] // 3))
        mask = mask_of(painted(pattern), 64)
        turned = mask_of(painted(pattern.T), 64)
        assert (mask == turned.T).all()


class TestExif:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @given(height=st.integers(1, 70), width=st.integers(1, 70), data=st.data())
    @settings(max_examples=10, deadline=None)
    def test_a_marked_corner_stays_in_its_corner(
        self,
        orientation: int,
        height: int,
        width: int,
        data: st.DataObject,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        """The picture as it is shown decides, not as it is stored."""
        side = max(STRIDE, round(math.sqrt(height * width)))
        assume(scale_to_area(Image.new("RGB", (width, height)), side).size == (width, height))
        grid = math.ceil(height / STRIDE), math.ceil(width / STRIDE)
        tiles = data.draw(patterns(*grid))
        tiles[0, 0] = True
        shown = tiled(tiles, STRIDE, (height, width))
        path = tmp_path_factory.mktemp("exif") / "photo.png"
        save_turned(shown, orientation, path)
        opened = read_picture(path)
        assert opened.size == (height, width)
        mask = mask_of(opened.image, side)
        assert (mask == shown).all()
        assert mask[0, 0]

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_so_it_does_in_a_photo_that_is_decoded_smaller(
        self, orientation: int, tmp_path: Path
    ) -> None:
        size, box = (900, 1402), (0, 300, 0, 500)
        path = tmp_path / "photo.jpg"
        save_turned(boxed(size, box), orientation, path)
        opened = read_picture(path, enough_pixels=128 * 128)
        assert opened.size == size
        assert opened.image.width < size[1]
        mask = mask_of(opened.image, 128, size=opened.size)
        assert_lies_on(mask, box, size_of(scale_to_area(opened.image, 128)))


def save_turned(shown: Pattern, orientation: int, path: Path) -> None:
    """Store a picture so that this orientation shows it.

    The first row and column that are stored lie, on what is shown (Exif 2.3, tag 0x0112):
    1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, 6 right top, 7 right
    bottom, 8 left bottom.
    """
    first_row, first_column = {
        **{1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right")},
        **{4: ("bottom", "left"), 5: ("left", "top"), 6: ("right", "top")},
        **{7: ("right", "bottom"), 8: ("left", "bottom")},
    }[orientation]
    stored = shown.T if first_row in ("left", "right") else shown
    stored = stored[::-1] if first_row in ("bottom", "right") else stored
    stored = stored[:, ::-1] if first_column in ("bottom", "right") else stored
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    painted(stored).save(path, exif=exif)


def boxed(size: tuple[int, int], box: Box) -> Pattern:
    pattern = np.zeros(size, dtype=bool)
    top, bottom, left, right = (max(0, round(edge)) for edge in box)
    pattern[top:bottom, left:right] = True
    return pattern


def assert_lies_on(mask: Pattern, box: Box, working: tuple[int, int]) -> None:
    """A mask is the box, but for the blur of a latent and of the scaling along each edge.

    Args:
        mask: Of a picture.
        box: Its bright part.
        working: (height, width) of what the picture was scaled to.
    """
    inner: list[float] = []
    outer: list[float] = []
    for full, scaled, (first, last) in zip(mask.shape, working, (box[:2], box[2:]), strict=True):
        # a latent, and the reach of Lanczos' kernel in pixels of the larger of both
        blur = (STRIDE + 3) * max(1, full / scaled) + 4
        inner += [
            first + blur if first > 0 else 0,
            last - blur if last < full else full,
        ]  # what touches the border has no edge there
        outer += [math.floor(first - blur), math.ceil(last + blur)]
        if first == last:
            outer[-2:] = [0, 0]
    assert mask[boxed(mask.shape, tuple(inner))].all()
    assert not mask[~boxed(mask.shape, tuple(outer))].any()
