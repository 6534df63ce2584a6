"""Between the host's IMAGE, MASK and LATENT and the core, on literal numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from .loading import Pack


@pytest.fixture
def conversions(pack: Pack) -> Any:
    return pack.module("nodes.conversions")


class TestLatents:
    def test_a_batch_is_taken_apart(self, conversions: Any) -> None:
        samples = torch.arange(2 * 4 * 1 * 3.0).reshape(2, 4, 1, 3)
        pictures = conversions.latents_of({"samples": samples, "noise_mask": None})
        assert [tuple(picture.shape) for picture in pictures] == [(1, 4, 1, 3)] * 2
        assert torch.equal(torch.cat(pictures), samples)

    @pytest.mark.parametrize(
        ("samples", "shown"),
        [
            (torch.zeros(1, 16, 5, 8, 8), r"Tensor \(1, 16, 5, 8, 8\)"),  # video
            (torch.zeros(1, 64, 256), r"Tensor \(1, 64, 256\)"),  # sound
            (torch.zeros(0, 4, 8, 8), r"Tensor \(0, 4, 8, 8\)"),
            (SimpleNamespace(is_nested=True), r"SimpleNamespace \(\)"),  # video with sound
        ],
    )
    def test_what_is_no_picture_is_refused_by_its_shape(
        self, conversions: Any, input_error: type[Exception], samples: Any, shown: str
    ) -> None:
        with pytest.raises(input_error, match=rf"expected a LATENT of pictures, .* got {shown}: "):
            conversions.latents_of({"samples": samples})


class TestPictures:
    def test_values_and_channels_go_where_the_core_has_them(self, conversions: Any) -> None:
        """One row of two pixels: (0, 1/2, 1) and (1, 0, 1/4)."""
        image = torch.tensor([[[[0.0, 0.5, 1.0], [1.0, 0.0, 0.25]]]])
        (picture,) = conversions.pictures_of(image)
        assert picture.tolist() == [[[[-1.0, 1.0]], [[0.0, -1.0]], [[1.0, -0.5]]]]

    def test_alpha_is_left_out_and_what_is_too_bright_is_white(self, conversions: Any) -> None:
        image = torch.tensor([[[[1.5, -0.5, 1.0, 0.3]]]])
        (picture,) = conversions.pictures_of(image)
        assert picture.flatten().tolist() == [1.0, -1.0, 1.0]

    def test_each_picture_of_a_batch_is_its_own(self, conversions: Any) -> None:
        image = torch.rand(3, 5, 7, 3)
        pictures = conversions.pictures_of(image)
        assert [tuple(picture.shape) for picture in pictures] == [(1, 3, 5, 7)] * 3
        assert torch.equal(pictures[2], conversions.pictures_of(image[2:])[0])

    def test_the_image_stays_as_it_was(self, conversions: Any) -> None:
        image = torch.tensor([[[[1.5, 0.5, 0.0]]]])
        conversions.pictures_of(image)[0].zero_()
        assert image.tolist() == [[[[1.5, 0.5, 0.0]]]]

    @pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 0, 8, 3), (8, 8, 3)])
    def test_what_holds_no_pixel_is_refused_by_its_shape(
        self, conversions: Any, input_error: type[Exception], shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(input_error, match=r"expected an IMAGE \(B, H, W, 3\) with pixels, got"):
            conversions.pictures_of(torch.zeros(shape))


class TestBatches:
    def test_maps_become_a_batch_of_floats_outside_of_autograd(self, conversions: Any) -> None:
        maps = [torch.ones(2, 3, dtype=torch.float16, requires_grad=True), torch.zeros(2, 3)]
        batch = conversions.to_batch(maps)
        assert (batch.dtype, batch.requires_grad) == (torch.float32, False)
        assert batch.tolist() == [[[1.0] * 3] * 2, [[0.0] * 3] * 2]

    def test_a_batch_is_a_copy(self, conversions: Any) -> None:
        mask = torch.ones(2, 3)
        conversions.to_batch([mask]).zero_()
        assert mask.sum() == 6
