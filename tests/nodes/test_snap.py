"""Masks from anywhere, snapped to a picture: by the tests' own solver, and by the real one."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from ldznet_core.snapping import snap

from ..core.matting import ByColour, agreement, disc, install
from .calling import call
from .loading import Pack

SIDE = 64


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> ByColour:
    return install(monkeypatch)


@pytest.fixture(scope="module")
def snapped(nodes: dict[str, Any]) -> Any:
    """LDZNetSnapMask's mask."""

    def mask(image: Tensor, mask: Tensor, band: int = 0) -> Tensor:
        found: Tensor = call(nodes["LDZNetSnapMask"], image=image, mask=mask, band=band).mask
        return found

    return mask


def an_image(side: int = SIDE) -> Tensor:
    """The disc as an IMAGE."""
    return torch.from_numpy(disc(side)[0])[None].float() / 255


class TestMasks:
    def test_are_the_library_s(self, solver: ByColour, snapped: Any) -> None:
        image, truth, rough = disc(SIDE)
        for band in (0, 1):
            found = snapped(an_image(), rough, band)
            assert torch.equal(found, snap(image, rough, band or None))
        assert agreement(snapped(an_image(), rough), truth) == 1.0

    def test_each_picture_of_a_batch_has_its_own(self, solver: ByColour, snapped: Any) -> None:
        _, _, rough = disc(SIDE)
        images, masks = torch.cat([an_image(), an_image()]), torch.cat([rough, rough.roll(2, 2)])
        found = snapped(images, masks)
        for index in range(2):
            alone = snapped(images[index : index + 1], masks[index : index + 1])
            assert torch.equal(found[index], alone[0])
        assert not torch.equal(*snapped(images, masks, 1))

    def test_one_mask_serves_all_pictures_and_one_picture_all_masks(
        self, solver: ByColour, snapped: Any
    ) -> None:
        _, _, rough = disc(SIDE)
        single = snapped(an_image(), rough)
        assert torch.equal(snapped(an_image().expand(3, -1, -1, -1), rough), single.repeat(3, 1, 1))
        assert torch.equal(snapped(an_image(), rough.repeat(3, 1, 1)), single.repeat(3, 1, 1))

    def test_one_of_another_size_is_resized_to_the_picture(
        self, solver: ByColour, snapped: Any
    ) -> None:
        found = snapped(an_image(), disc(SIDE // 2)[2])
        assert found.shape == (1, SIDE, SIDE)
        assert agreement(found, disc(SIDE)[1]) == 1.0

    def test_one_without_its_batch_is_one_mask(self, solver: ByColour, snapped: Any) -> None:
        """Some nodes give (H, W)."""
        _, _, rough = disc(SIDE)
        assert torch.equal(snapped(an_image(), rough[0]), snapped(an_image(), rough))

    def test_an_empty_one_stays_empty(self, solver: ByColour, snapped: Any) -> None:
        assert snapped(an_image(), torch.zeros(1, SIDE, SIDE)).sum() == 0
        assert solver.trimaps == []

    def test_of_a_picture_with_alpha_its_colours_count(
        self, solver: ByColour, snapped: Any
    ) -> None:
        image, (_, _, rough) = an_image(), disc(SIDE)
        with_alpha = torch.cat([image, torch.zeros(1, SIDE, SIDE, 1)], dim=-1)
        assert torch.equal(snapped(with_alpha, rough), snapped(image, rough))

    def test_nothing_is_written_to(self, solver: ByColour, snapped: Any) -> None:
        image, (_, _, rough) = an_image(), disc(SIDE)
        snapped(image, rough)
        assert torch.equal(image, an_image())
        assert torch.equal(rough, disc(SIDE)[2])


class TestManners:
    def test_each_mask_moves_the_bar_and_may_be_the_last(
        self, solver: ByColour, snapped: Any
    ) -> None:
        from comfy import model_management, utils

        seen: list[tuple[int, int]] = []

        def step(value: int, total: int) -> None:
            seen.append((value, total))
            model_management.interrupt_current_processing()

        utils.set_progress_bar_global_hook(step)
        try:
            with pytest.raises(model_management.InterruptProcessingException):
                snapped(an_image(), disc(SIDE)[2].repeat(3, 1, 1))
        finally:
            utils.set_progress_bar_global_hook(None)
            model_management.interrupt_current_processing(False)
        assert seen == [(1, 3)]


class TestRefusals:
    def test_a_missing_package_is_told_with_what_to_do(
        self, pack: Pack, snapped: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pymatting", None)
        error = pack.module("ldznet_core").LDZNetError
        with pytest.raises(error, match="expected the package pymatting") as told:
            snapped(an_image(), disc(SIDE)[2])
        assert "-m pip install -U pymatting" in str(told.value)
        assert "\n" not in str(told.value)

    def test_batches_that_do_not_match_are_told(
        self, solver: ByColour, snapped: Any, input_error: type[Exception]
    ) -> None:
        images, masks = an_image().expand(2, -1, -1, -1), disc(SIDE)[2].repeat(3, 1, 1)
        with pytest.raises(input_error, match="got 3 masks for 2 pictures"):
            snapped(images, masks)

    @pytest.mark.parametrize("shape", [(0, SIDE, SIDE), (1, 0, SIDE), (SIDE,)])
    def test_a_mask_without_pixels_is_told(
        self,
        solver: ByColour,
        snapped: Any,
        input_error: type[Exception],
        shape: tuple[int, ...],
    ) -> None:
        with pytest.raises(input_error, match="expected a MASK"):
            snapped(an_image(), torch.zeros(shape))


class TestTheRealOne:
    def test_a_mask_s_edge_goes_to_the_picture_s(self, snapped: Any) -> None:
        pytest.importorskip("pymatting", reason="closed-form matting needs the extra `edges`")
        _, truth, rough = disc(SIDE)
        assert agreement(snapped(an_image(), rough), truth) > 0.99
