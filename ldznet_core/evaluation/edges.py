"""Whether masks gain if they are snapped to the edges of their picture, by filters of others.

The filters' packages are no part of ours; what is not installed is left out, with the reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .. import snapping
from ..masks import EDGE, grow
from ..metrics.overlap import overlap
from ..segmenter import Segmenter
from .cases import Case
from .masks import is_small

Soft: TypeAlias = NDArray[np.float32]
"""Probabilities ``(H, W)`` in [0, 1]."""

Snap: TypeAlias = Callable[[NDArray[np.uint8], Soft], Soft]
"""Takes a picture ``(H, W, 3)`` RGB and a soft mask, and gives a soft mask."""

AS_IT_IS = "as it is"

RADII = (2, 4, 8)
"""Of the guided filter, in pixels."""

TOLERANCES = (1e-3, 1e-2, 1e-1)
"""Its epsilon: variance of colours in [0, 1] below which a window counts as flat."""

BANDS = (4, 8, 12, 16)
"""Pixels to either side of a mask's edge that the other filters decide anew."""

_BETAS = (130.0, 500.0, 2000.0)

_PACKAGES = {
    "guided filter": ("cv2", "opencv-contrib-python-headless"),
    "random walker": ("skimage.segmentation", "scikit-image"),
    "closed-form matting": ("pymatting", "pymatting"),
}


@dataclass(frozen=True, slots=True)
class Snaps:
    """The filters that can be compared here."""

    ways: Mapping[str, Snap]
    left_out: Mapping[str, str]
    """Why others cannot, by name: a sentence."""


@dataclass
class EdgeFigures:
    """The IoUs of one way."""

    things: list[float] = field(default_factory=list)
    stuff: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """The means by name; NaN of none."""
        by_name = {"things_miou": self.things, "stuff_miou": self.stuff}
        return {
            name: float(np.mean(ious)) if ious else float("nan") for name, ious in by_name.items()
        }


def find_snaps() -> Snaps:
    """The filters whose packages are installed, and masks as they are."""
    ways: dict[str, Snap] = {AS_IT_IS: lambda image, soft: soft}
    left_out = {}
    for name, (module_name, package) in _PACKAGES.items():
        try:
            module = importlib.import_module(module_name)
            ways |= _MAKERS[name](module)
        except Exception:  # what numba raises on a machine that it cannot compile for is anything
            left_out[name] = f"{name} is left out: install {package} to have it measured"
    return Snaps(ways, left_out)


def evaluate_edges(
    segmenter: Segmenter, cases: Iterable[Case], ways: Mapping[str, Snap]
) -> dict[str, EdgeFigures]:
    """Segment every case's picture once, and judge its masks after each way.

    As users get them: at the head's own threshold, and empty where nothing was found.

    Args:
        segmenter: Whose masks are snapped.
        cases: The pictures, phrases and truths; absent phrases are left out.
        ways: From `find_snaps`.
    """
    figures = {name: EdgeFigures() for name in ways}
    for case in cases:
        phrases = [phrase for phrase in case.phrases if not phrase.is_absent]
        image = case.scene.image
        given = segmenter.segment_image(
            Image.fromarray(image), [phrase.text for phrase in phrases], threshold=None
        )
        for index, phrase in enumerate(phrases):
            truth, soft = case.mask(phrase), given.probabilities[index].numpy()
            is_stuff = case.is_stuff(phrase)
            if not is_stuff and is_small(truth):
                continue
            is_there = given.present[index]
            for name, snap in ways.items():
                mask = snap(image, soft) > given.threshold if is_there else np.zeros_like(truth)
                into = figures[name].stuff if is_stuff else figures[name].things
                into.append(overlap(mask, truth).iou)
    return figures


def _guided(cv2: ModuleType) -> dict[str, Snap]:
    """He et al.'s: in each window the mask is a linear function of the colours."""
    guided_filter = cv2.ximgproc.guidedFilter

    def snap(radius: int, tolerance: float, image: NDArray[np.uint8], soft: Soft) -> Soft:
        guide = image.astype(np.float32) / 255
        filtered: Soft = guided_filter(guide, soft.astype(np.float32), radius, tolerance)
        return filtered

    return {
        f"guided filter, radius {radius}, epsilon {tolerance:g}": partial(snap, radius, tolerance)
        for radius in RADII
        for tolerance in TOLERANCES
    }


def _random_walker(segmentation: ModuleType) -> dict[str, Snap]:
    """Grady's: what is asked anew goes to whom a walk along like colours reaches first."""

    def snap(band: int, beta: float, image: NDArray[np.uint8], soft: Soft) -> Soft:
        seeds = _seeds(soft, band)
        if not {1, 2} <= set(np.unique(seeds)):
            return soft
        walked = segmentation.random_walker(
            image / 255.0, seeds, beta=beta, mode="cg_j", return_full_prob=True, channel_axis=-1
        )
        inside: Soft = walked[1].astype(np.float32)
        return inside

    return {
        f"random walker, band {band}, beta {beta:g}": partial(snap, band, beta)
        for band in BANDS
        for beta in _BETAS
    }


def _matting(_: ModuleType) -> dict[str, Snap]:
    """Levin et al.'s, as users get it: what is asked anew becomes an alpha of the colours."""

    def snap(band: int, image: NDArray[np.uint8], soft: Soft) -> Soft:
        alpha: Soft = snapping.snap(image, torch.from_numpy(soft)[None], band)[0].numpy()
        return alpha

    return {f"closed-form matting, band {band}": partial(snap, band) for band in BANDS}


def _seeds(soft: Soft, band: int) -> NDArray[np.int64]:
    """1 where a pixel stays outside, 2 where it stays inside, 0 near the edge of the mask."""
    mask = torch.from_numpy(soft > EDGE)[None].float()
    outside, inside = grow(mask, band)[0] == 0, grow(1 - mask, band)[0] == 0
    return (outside * 1 + inside * 2).numpy()


_MAKERS: dict[str, Callable[[ModuleType], dict[str, Snap]]] = {
    "guided filter": _guided,
    "random walker": _random_walker,
    "closed-form matting": _matting,
}
