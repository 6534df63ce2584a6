"""Ridge regression of feature maps in closed form, from sums that are gathered part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor

PENALTIES = tuple(10.0**exponent for exponent in range(-6, 2))
"""Among which folds choose: of the squared weights, where the mean squared error counts once."""

_CONSTANT = 1e-7  # deviations below this share of a channel's size are rounding


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sums over pixels of C features and K targets, in float64: all that a ridge needs."""

    count: float
    features: Tensor
    """``(C,)``"""
    targets: Tensor
    """``(K,)``"""
    squares: Tensor
    """``(C, C)``, of features with features."""
    products: Tensor
    """``(C, K)``, of features with targets."""
    target_squares: Tensor
    """``(K,)``"""

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count,
            self.features + other.features,
            self.targets + other.targets,
            self.squares + other.squares,
            self.products + other.products,
            self.target_squares + other.target_squares,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """A linear map from features to targets."""

    weights: Tensor
    """``(C, K)``"""
    offsets: Tensor
    """``(K,)``"""

    def predict(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """``(B, C, h, w)`` features as ``(B, K, *size)``, brought there bilinearly."""
        maps = torch.einsum("bchw,ck->bkhw", features, self.weights.to(features))
        enlarged = F.interpolate(maps, size, mode="bilinear", align_corners=False)
        return enlarged + self.offsets.to(features).reshape(-1, 1, 1)


def moments(features: Tensor, targets: Tensor) -> Moments:
    """The sums over the targets' grid, onto which the features are thought bilinearly enlarged.

    They are gathered on the features' own grid: enlarging is linear, so its matrices go into the
    sums instead.

    Args:
        features: ``(B, C, h, w)``.
        targets: ``(B, K, H, W)`` on the common grid.
    """
    features, targets = features.double(), targets.double()
    rows = _enlarging(features.shape[-2], targets.shape[-2])
    columns = _enlarging(features.shape[-1], targets.shape[-1])
    weighted = (rows.T @ rows) @ features @ (columns.T @ columns)
    reduced = rows.T @ targets @ columns  # (B, K, h, w)
    return Moments(
        float(targets[:, 0].numel()),
        torch.einsum("bchw,h,w->c", features, rows.sum(dim=0), columns.sum(dim=0)),
        targets.sum(dim=(0, 2, 3)),
        torch.einsum("bchw,bdhw->cd", features, weighted),
        torch.einsum("bchw,bkhw->ck", features, reduced),
        targets.square().sum(dim=(0, 2, 3)),
    )


def fit(given: Moments, penalties: Tensor) -> Ridge:
    """The ridge on standardised features; a channel that is constant has no weight.

    Args:
        given: The sums over the pixels that it is fitted to.
        penalties: ``(K,)``, above 0, of the targets.
    """
    return _Fitting(given).ridge(penalties)


def choose_penalties(folds: Sequence[Moments], penalties: Sequence[float] = PENALTIES) -> Tensor:
    """For each target ``(K,)`` the penalty whose ridges err least on the folds left out.

    Args:
        folds: Two or more; each in turn is predicted by a ridge of the others.
        penalties: Among which is chosen.
    """
    errors = torch.zeros(len(penalties), len(folds[0].targets), dtype=torch.float64)
    for left_out, fold in enumerate(folds):
        others = reduce(add, [each for number, each in enumerate(folds) if number != left_out])
        fitting = _Fitting(others)
        for row, penalty in enumerate(penalties):
            errors[row] += squared_error(fitting.ridge(torch.tensor([penalty])), fold)
    return torch.tensor(penalties, dtype=torch.float64)[errors.argmin(dim=0)]


def squared_error(ridge: Ridge, given: Moments) -> Tensor:
    """The sum of squared errors of a ridge on the pixels of these sums, ``(K,)``."""
    weights, offsets = ridge.weights, ridge.offsets
    predicted = given.features @ weights  # the sum of predictions, without offsets
    cross = (weights * given.products).sum(dim=0) + offsets * given.targets
    squared = (weights * (given.squares @ weights)).sum(dim=0)
    squared = squared + 2 * offsets * predicted + given.count * offsets.square()
    return given.target_squares - 2 * cross + squared


class _Fitting:
    """Sums made ready for ridges of any penalty: the features' correlations, diagonalised."""

    def __init__(self, given: Moments) -> None:
        self._mean = given.features / given.count
        self._target_mean = given.targets / given.count
        size = given.squares.diagonal() / given.count
        covariance = given.squares / given.count - torch.outer(self._mean, self._mean)
        variance = covariance.diagonal()
        is_constant = variance <= _CONSTANT**2 * size
        self._scale = torch.where(is_constant, 0.0, variance.clamp_min(1e-300).rsqrt())
        correlation = covariance * torch.outer(self._scale, self._scale)
        self._values, self._vectors = torch.linalg.eigh(correlation)
        products = given.products / given.count - torch.outer(self._mean, self._target_mean)
        self._turned = self._vectors.T @ (products * self._scale[:, None])

    def ridge(self, penalties: Tensor) -> Ridge:
        """With a penalty for each target, or one for all."""
        damped = self._turned / (self._values.clamp_min(0)[:, None] + penalties)
        weights = self._scale[:, None] * (self._vectors @ damped)
        return Ridge(weights, self._target_mean - self._mean @ weights)


@lru_cache(maxsize=64)
def _enlarging(length: int, size: int) -> Tensor:
    """The matrix ``(size, length)`` that brings a line of values linearly to another length."""
    identity = torch.eye(length, dtype=torch.float64)[:, None]
    lines = F.interpolate(identity, size, mode="linear", align_corners=False)
    return lines[:, 0].T
