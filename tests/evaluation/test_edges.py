"""Masks snapped to edges, measured: against filters written out here, and with none installed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.evaluation.cases import Case, cases
from ldznet_core.evaluation.edges import (
    AS_IT_IS,
    Snap,
    Soft,
    evaluate_edges,
    find_snaps,
)
from ldznet_core.evaluation.masks import evaluate_masks
from ldznet_core.snapping import snap

from ..core.matting import disc, install

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODULES = ("cv2", "skimage", "skimage.segmentation", "pymatting")


@pytest.fixture(scope="module")
def case() -> Case:
    """A red car in a meadow, which is found."""
    return list(cases("small", "iid", 4, 128))[3]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(load_miniature(), load_head("training-free"))


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)


def installed(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    """A package of this name with these functions, in the place of the real one."""
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def square(side: int = 40, low: int = 10, high: int = 30) -> Soft:
    soft = np.zeros((side, side), np.float32)
    soft[low:high, low:high] = 0.9
    return soft


def plain(side: int = 40) -> NDArray[np.uint8]:
    return np.full((side, side, 3), 128, np.uint8)


class TestWhatIsInstalled:
    def test_without_a_package_its_filters_are_left_out_with_a_reason(
        self, nothing_installed: None
    ) -> None:
        found = find_snaps()
        assert list(found.ways) == [AS_IT_IS]
        assert found.left_out["closed-form matting"] == (
            "closed-form matting is left out: install pymatting to have it measured"
        )
        assert len(found.left_out) == 3

    def test_opencv_without_contrib_has_no_guided_filter(
        self, nothing_installed: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The plain opencv-python goes by the same name."""
        installed(monkeypatch, "cv2")
        assert "opencv-contrib-python-headless" in find_snaps().left_out["guided filter"]

    def test_masks_as_they_are_are_always_there(self) -> None:
        soft = square()
        assert find_snaps().ways[AS_IT_IS](plain(), soft) is soft


class TestFilters:
    def test_the_guided_filter_is_given_colours_in_0_to_1_and_its_settings(
        self, nothing_installed: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []

        def guided(guide: Any, soft: Soft, radius: int, tolerance: float) -> Soft:
            asked.append((float(guide.max()), guide.dtype, radius, tolerance))
            return 1 - soft

        installed(monkeypatch, "cv2", ximgproc=SimpleNamespace(guidedFilter=guided))
        ways = find_snaps().ways
        snapped = ways["guided filter, radius 8, epsilon 0.01"](plain(), square())
        assert asked == [(pytest.approx(128 / 255), np.float32, 8, 0.01)]
        np.testing.assert_array_equal(snapped, 1 - square())

    @pytest.mark.parametrize("band", [4, 8])
    def test_matting_is_what_users_get_with_the_band_that_is_named(
        self, nothing_installed: None, monkeypatch: pytest.MonkeyPatch, band: int
    ) -> None:
        install(monkeypatch)
        image, _, rough = disc(64)
        snapped = find_snaps().ways[f"closed-form matting, band {band}"](image, rough[0].numpy())
        np.testing.assert_array_equal(snapped, snap(image, rough, band)[0].numpy())

    @pytest.mark.parametrize("soft", [np.zeros((40, 40), np.float32), square(40, 18, 22)])
    def test_a_mask_without_anything_sure_stays_as_it_is(
        self, nothing_installed: None, monkeypatch: pytest.MonkeyPatch, soft: Soft
    ) -> None:
        installed(monkeypatch, "pymatting")
        sys.modules["pymatting"].estimate_alpha_cf = None  # type: ignore[attr-defined]
        snapped = find_snaps().ways["closed-form matting, band 4"](plain(), soft)
        np.testing.assert_array_equal(snapped, soft)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "name",
        [
            "guided filter, radius 8, epsilon 0.01",
            "random walker, band 8, beta 500",
            "closed-form matting, band 8",
        ],
    )
    def test_the_real_ones_pull_a_mask_to_the_edge_of_a_disc(self, name: str) -> None:
        found = find_snaps()
        if name not in found.ways:
            pytest.skip(found.left_out[name.split(",")[0]])
        rows, columns = np.mgrid[:64, :64]
        disc = (rows - 32) ** 2 + (columns - 32) ** 2 < 18**2
        image = np.where(disc[..., None], [230, 40, 40], [60, 160, 60]).astype(np.uint8)
        rough = ((rows - 34) ** 2 + (columns - 30) ** 2 < 17**2).astype(np.float32)

        def iou(mask: NDArray[np.bool_]) -> float:
            return float((mask & disc).sum() / (mask | disc).sum())

        assert iou(found.ways[name](image, rough) > 0.5) > iou(rough > 0.5)


class TestFigures:
    def test_masks_as_they_are_have_the_figures_of_users(
        self, segmenter: Segmenter, case: Case
    ) -> None:
        found = evaluate_edges(segmenter, [case], {AS_IT_IS: lambda image, soft: soft})
        expected = evaluate_masks(segmenter, [case]).summary()
        for name in ("things_miou", "stuff_miou"):
            assert found[AS_IT_IS].summary()[name] == pytest.approx(expected[name])

    def test_each_way_is_judged_by_what_it_makes(self, segmenter: Segmenter, case: Case) -> None:
        def none(image: NDArray[np.uint8], soft: Soft) -> Soft:
            return np.zeros_like(soft)

        ways: dict[str, Snap] = {AS_IT_IS: lambda image, soft: soft, "none": none}
        found = evaluate_edges(segmenter, [case], ways)
        assert found["none"].summary()["things_miou"] == 0
        assert found[AS_IT_IS].summary()["things_miou"] > 0.3

    def test_what_is_not_found_is_empty_whatever_a_way_makes(
        self, segmenter: Segmenter, case: Case
    ) -> None:
        def everything(image: NDArray[np.uint8], soft: Soft) -> Soft:
            raise AssertionError("nothing was found that could be snapped")

        phrases = tuple(replace(phrase, text="zebra") for phrase in case.phrases)
        missed = replace(case, phrases=phrases)
        found = evaluate_edges(segmenter, [missed], {"everything": everything})
        assert found["everything"].summary()["things_miou"] == 0


def test_no_host_is_given_the_filters_packages(root: Path) -> None:
    """They would move its pins. The one of the filter that pays is an extra of the library."""
    text = (root / "requirements.txt").read_text(encoding="utf-8")
    for package in ("opencv", "scikit-image", "pymatting"):
        assert package not in text
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert [name for name, wanted in extras.items() if "pymatting" in str(wanted)] == ["edges"]
    assert "pymatting" not in str(project["dependencies"])
