"""A solver in the place of pymatting's, and a mask that wants snapping."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class ByColour:
    """Gives what is unknown to whom its colour is nearer: the mean of the inside, or the outside.

    It talks as pymatting's does.
    """

    trimaps: list[NDArray[np.float64]] = field(default_factory=list)
    """All that it was asked."""

    def __call__(
        self, image: NDArray[np.float64], trimap: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        assert image.shape == (*trimap.shape, 3)
        assert image.min() >= 0
        assert 0.3 < image.max() <= 1
        print("PERFORMANCE WARNING:")
        self.trimaps.append(trimap.copy())
        inside, outside = (image[trimap == known].mean(axis=0) for known in (1, 0))
        distances = [np.linalg.norm(image - each, axis=-1) for each in (inside, outside)]
        alphas: NDArray[np.float64] = np.where(
            trimap == 0.5, 1.0 * (distances[0] < distances[1]), trimap
        )
        return alphas


def install(monkeypatch: pytest.MonkeyPatch) -> ByColour:
    """The solver as pymatting's."""
    solver = ByColour()
    module = ModuleType("pymatting")
    module.estimate_alpha_cf = solver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pymatting", module)
    return solver


def disc(side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Tensor]:
    """A red disc on a green ground ``(H, W, 3)``, where it is, and a soft mask a little beside it.

    The mask ``(1, H, W)`` has 0.8 inside and 0.1 outside.
    """
    rows, columns = np.mgrid[:side, :side] / side
    inside = np.hypot(rows - 0.5, columns - 0.5) < 0.28
    rough = np.hypot(rows - 0.53, columns - 0.48) < 0.28
    levels = np.random.default_rng(0).integers(0, 20, (side, side, 3))
    image = levels + np.where(inside[..., None], [200, 40, 40], [40, 160, 60])
    return image.astype(np.uint8), inside, torch.from_numpy(np.where(rough, 0.8, 0.1)).float()[None]


def agreement(mask: Tensor, truth: NDArray[np.bool_]) -> float:
    """The IoU of a soft mask ``(1, H, W)`` with the truth."""
    found = mask[0].numpy() > 0.5
    return float((found & truth).sum() / (found | truth).sum())
