"""Masks snapped to their picture's edges: by a solver written for the tests, and the real one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ldznet_core import InputError, LDZNetError, snapping
from ldznet_core.segmentation import Request, Segmentation, read_logits
from ldznet_core.snapping import band_of, load_matting, snap, snapped

from .matting import ByColour, agreement, disc, install


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> ByColour:
    """A simple one, where the real one need not be installed."""
    return install(monkeypatch)


@pytest.fixture(scope="module")
def real() -> None:
    """The real one."""
    pytest.importorskip("pymatting", reason="closed-form matting needs the extra `edges`")


def square(side: int = 40, low: int = 10, high: int = 30) -> Tensor:
    soft = torch.full((1, side, side), 0.1)
    soft[:, low:high, low:high] = 0.9
    return soft


def plain(side: int = 40) -> Image.Image:
    return Image.new("RGB", (side, side), (128, 128, 128))


class TestBand:
    def test_just_what_is_near_the_edge_is_decided_anew(self, solver: ByColour) -> None:
        snap(plain(), square(), band=4)
        expected = np.zeros((40, 40))
        expected[6:34, 6:34] = 0.5
        expected[14:26, 14:26] = 1.0
        (trimap,) = solver.trimaps
        np.testing.assert_array_equal(trimap, expected[4:36, 4:36])  # the rest has no say

    def test_a_mask_s_edge_goes_to_the_picture_s(self, solver: ByColour) -> None:
        image, truth, rough = disc(64)
        assert agreement(rough, truth) < 0.9
        assert agreement(snap(image, rough), truth) == 1.0

    def test_what_is_far_from_the_edge_becomes_sure(self, solver: ByColour) -> None:
        image, _, rough = disc(64)
        mask = snap(image, rough, band=4)
        assert (float(mask[0, 32, 32]), float(mask[0, 0, 0])) == (1.0, 0.0)

    def test_what_lies_beyond_the_band_is_not_reached(self, solver: ByColour) -> None:
        image, truth, rough = disc(128)
        assert agreement(snap(image, rough, band=1), truth) < agreement(snap(image, rough), truth)

    @pytest.mark.parametrize(
        ("size", "pixels"), [((128, 128), 8), ((512, 512), 32), ((64, 256), 8), ((1, 1), 1)]
    )
    def test_is_a_16th_of_the_side_unless_given(self, size: tuple[int, int], pixels: int) -> None:
        """Of the side that a square of the same area would have."""
        assert band_of(size) == pixels

    def test_the_default_is_that_of_the_picture(self, solver: ByColour) -> None:
        image, _, rough = disc(96)
        for band in (None, 6, 3):
            snap(image, rough, band)
        default, equal, narrower = ((trimap == 0.5).sum() for trimap in solver.trimaps)
        assert default == equal > narrower


class TestMasks:
    @pytest.mark.parametrize(
        "soft",
        [
            torch.zeros(1, 40, 40),
            torch.ones(1, 40, 40),
            torch.full((1, 40, 40), 0.4),
            square(40, 18, 22),
            square(40, 1, 39),
        ],
        ids=["empty", "everything", "unsure", "too small", "too large"],
    )
    def test_what_has_no_sure_inside_or_outside_stays_as_it_is(
        self, solver: ByColour, soft: Tensor
    ) -> None:
        assert torch.equal(snap(plain(), soft, band=4), soft)
        assert solver.trimaps == []

    def test_each_mask_is_snapped_by_itself(self, solver: ByColour) -> None:
        image, _, rough = disc(64)
        masks = torch.cat([rough, torch.zeros(1, 64, 64), 0.9 - rough])
        together = snap(image, masks)
        for index in range(3):
            assert torch.equal(together[index], snap(image, masks[index : index + 1])[0])

    def test_no_mask_is_no_mask(self, solver: ByColour) -> None:
        assert snap(plain(), torch.zeros(0, 40, 40)).shape == (0, 40, 40)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_dtype_is_kept_and_nothing_written_to(
        self, solver: ByColour, dtype: torch.dtype
    ) -> None:
        image, _, rough = disc(64)
        given = rough.to(dtype).requires_grad_()
        before = given.detach().clone()
        mask = snap(image, given)
        assert mask.dtype == dtype
        assert torch.equal(given, before)
        assert torch.equal(mask.float(), snap(image, rough))

    @pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 30), (30, 2)])
    def test_a_narrow_picture_is_no_error(self, solver: ByColour, size: tuple[int, int]) -> None:
        soft = torch.zeros(1, *size)
        soft[..., : size[1] // 2] = 1
        assert torch.equal(snap(Image.new("RGB", size[::-1], "red"), soft, band=1), soft)
        assert solver.trimaps == []


class TestLargePictures:
    def test_a_wide_band_is_decided_on_smaller_pictures_first(self, solver: ByColour) -> None:
        image, truth, rough = disc(512)
        mask = snap(image, rough)
        unknown = [int((trimap == 0.5).sum()) for trimap in solver.trimaps]
        at_once = 2 * 32 * 2 * np.pi * 0.28 * 512  # the band around the disc
        assert len(unknown) == 2
        assert sum(unknown) < at_once / 2
        assert agreement(mask, truth) > 0.99

    def test_sides_need_not_be_even(self, solver: ByColour) -> None:
        image, truth, rough = disc(513)
        mask = snap(image[:, 100:451], rough[:, :, 100:451], band=32)
        assert agreement(mask, truth[:, 100:451]) > 0.99

    def test_what_a_smaller_picture_cannot_snap_stays_as_it_is(self, solver: ByColour) -> None:
        image, _, rough = disc(256)
        assert snap(image, rough, band=200).equal(rough)
        assert solver.trimaps == []

    def test_the_largest_keep_the_edges_of_a_smaller_one(
        self, solver: ByColour, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(snapping, "_MOST_PIXELS", 64**2)
        image, truth, rough = disc(128)
        mask = snap(image, rough)
        assert [max(trimap.shape) <= 64 for trimap in solver.trimaps] == [True]
        assert agreement(mask, truth) > 0.95


class TestSegmentations:
    @staticmethod
    def found(*soft: Tensor, negatives: int = 0) -> Segmentation:
        logits = torch.cat(soft).logit()
        names = [f"thing {number}" for number in range(len(soft))]
        wanted = len(names) - negatives
        request = Request.checked(names[:wanted], names[wanted:], 0.5)
        return read_logits(logits, request, (64, 64), presence_threshold=0.5)

    def test_masks_are_snapped_and_the_head_s_word_is_kept(self, solver: ByColour) -> None:
        image, truth, rough = disc(64)
        before = self.found(rough)
        after = snapped(before, image)
        assert agreement(after.masks, truth) == 1.0
        assert set(after.masks.unique().tolist()) == {0.0, 1.0}
        for name in ("logits", "probabilities", "scores", "present", "threshold", "phrases"):
            assert getattr(after, name) is getattr(before, name)

    def test_what_is_not_found_stays_empty(self, solver: ByColour) -> None:
        image, _, rough = disc(64)
        after = snapped(self.found(rough, rough / 2), image)
        assert after.found == [True, False]
        assert after.masks[1].sum() == 0

    def test_what_a_negative_took_away_stays_away(self, solver: ByColour) -> None:
        """The upper half of the disc is the negative's, and no edge of the picture parts them."""
        image, truth, rough = disc(64)
        upper = torch.full((1, 64, 64), 0.1)
        upper[:, :32] = 0.9
        after = snapped(self.found(rough, upper, negatives=1), image, band=4)
        assert after.masks[0, :28].sum() == 0
        assert torch.equal(after.masks[0, 40:].bool(), torch.from_numpy(truth)[40:])


class TestRefusals:
    @pytest.fixture
    def missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pymatting", None)

    def test_a_missing_package_is_named_with_the_command_that_installs_it(
        self, missing: None
    ) -> None:
        with pytest.raises(LDZNetError, match="expected the package pymatting") as told:
            snap(plain(), square())
        assert f'"{sys.executable}" -m pip install -U pymatting' in str(told.value)
        assert "\n" not in str(told.value)

    def test_one_that_is_too_old_for_numpy_is_told_likewise(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """pymatting 1.1.10 asks numpy for bool8 while it is imported; numpy 2 has none."""
        broken = "raise AttributeError('numpy has no bool8')"
        (tmp_path / "pymatting.py").write_text(broken, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "pymatting", raising=False)
        with pytest.raises(LDZNetError, match=r"got 'numpy has no bool8'.+ -U pymatting"):
            load_matting()

    @pytest.mark.parametrize("shape", [(40, 40), (1, 1, 40, 40), (1, 40, 39), (1, 80, 80)])
    def test_masks_of_another_size_are_refused(
        self, solver: ByColour, shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(InputError, match=r"expected masks of the picture's size, \(P, 40, 40"):
            snap(plain(), torch.zeros(shape))

    @pytest.mark.parametrize("band", [0, -3])
    def test_a_band_without_a_pixel_is_refused(self, solver: ByColour, band: int) -> None:
        with pytest.raises(InputError, match="expected a band of at least 1 pixel"):
            snap(plain(), square(), band)

    def test_what_is_no_picture_is_refused(self, solver: ByColour) -> None:
        with pytest.raises(InputError, match="expected a PIL image"):
            snap(torch.zeros(3, 40, 40), square())


def test_what_the_solver_prints_is_kept_from_the_command_line_s_output(
    solver: ByColour, capsys: pytest.CaptureFixture[str]
) -> None:
    image, _, rough = disc(64)
    snap(image, rough)
    assert len(solver.trimaps) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("real")
class TestTheRealOne:
    def test_a_mask_s_edge_goes_to_the_picture_s(self) -> None:
        image, truth, rough = disc(64)
        assert agreement(snap(image, rough), truth) > 0.99

    def test_the_part_that_is_solved_gives_what_the_whole_picture_would(self) -> None:
        image, _, rough = disc(64)
        whole = snapping._trimap(rough[0], 4)
        expected = load_matting()(image / 255.0, whole)
        found = snap(image, rough, band=4)[0].double().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)  # float32 rounds to 1e-7

    def test_the_same_twice_is_the_same(self) -> None:
        image, _, rough = disc(64)
        assert torch.equal(snap(image, rough), snap(image, rough))

    def test_smaller_pictures_first_gives_about_what_one_step_gives(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image, _, rough = disc(256)
        in_steps = snap(image, rough, band=20)
        monkeypatch.setattr(snapping, "_WIDEST", 20)
        at_once = snap(image, rough, band=20)
        assert not torch.equal(in_steps, at_once)
        assert agreement(in_steps, at_once[0].numpy() > 0.5) > 0.99

    @pytest.mark.parametrize("colours", ["flat", "noise", "checks"])
    def test_pictures_without_edges_are_no_error(self, colours: str) -> None:
        generator = np.random.default_rng(1)
        image = {
            "flat": np.full((48, 48, 3), 255, np.uint8),
            "noise": generator.integers(0, 256, (48, 48, 3), dtype=np.uint8),
            "checks": np.uint8(255) * np.indices((48, 48)).sum(axis=0)[..., None].repeat(3, 2) % 2,
        }[colours].astype(np.uint8)
        mask = snap(image, square(48), band=4)
        assert bool(((mask >= 0) & (mask <= 1)).all())
