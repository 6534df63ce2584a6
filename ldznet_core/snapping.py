"""Masks snapped to the edges of their picture: near a mask's own edge, the colours decide anew.

By closed-form matting (Levin, Lischinski and Weiss, 2008), as the package pymatting solves it: the
one filter of those compared in docs/results.md that made masks much better. The package is no part
of ours and is imported on first use.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import InputError, LDZNetError
from .masks import EDGE, grow, resize, subtract, threshold_mask
from .pictures import size_of, to_picture
from .segmentation import Segmentation

if TYPE_CHECKING:
    from PIL.Image import Image

    from .pictures import Picture

Matting: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Takes a picture ``(H, W, 3)`` in [0, 1] and its trimap ``(H, W)``, and gives alphas ``(H, W)``.

A trimap is 0 outside, 1 inside, and 0.5 where nothing is known.
"""

BAND_SHARE = 1 / 16
"""The band's reach, as a share of the picture's side: the best of those in docs/results.md."""

_OUTSIDE, _UNKNOWN, _INSIDE = 0.0, 0.5, 1.0

_LEAST_SIDE = 3  # pixels: matting compares those of every 3x3 window with each other

_MARGIN = _LEAST_SIDE - 1

_WIDEST = 16  # pixels: a wider band takes seconds a mask, and is decided on a smaller picture first

_FINE = 4  # pixels: what is then decided anew, two of the smaller picture's to either side

_MOST_PIXELS = 2**22  # matting takes some 600 bytes each: masks of more stay the smaller picture's


def snap(image: Picture, probabilities: Tensor, band: int | None = None) -> Tensor:
    """Soft masks whose edges lie where the colours of the picture change.

    Within the band to either side of a mask's edge, pixels get the alpha that explains their
    colours; what lies further inside becomes 1, and what lies further outside 0. A mask too small
    or too large to have both stays as it is, and so does an empty one. Bands of more than 16 pixels
    are decided on smaller pictures first; in pictures above 4 megapixels that is all.

    Args:
        image: A PIL image of any mode, a ``(H, W, 3)`` uint8 array, or a ``(1, 3, H, W)`` tensor in
            [-1, 1].
        probabilities: ``(P, H, W)`` in [0, 1], of the picture's size.
        band: Pixels to either side of the edge; None is a 16th of the picture's side.

    Returns:
        ``(P, H, W)`` in [0, 1], of the probabilities' device and dtype.

    Raises:
        LDZNetError: pymatting is not installed, or too old.
        InputError: The picture or the band cannot be used, or the masks have another size.
    """
    matting = load_matting()
    picture = to_picture(image)
    size = size_of(picture)
    if probabilities.ndim != 3 or tuple(probabilities.shape[1:]) != size:
        raise InputError(
            f"expected masks of the picture's size, (P, {size[0]}, {size[1]}), got "
            f"{tuple(probabilities.shape)}: resize one of them"
        )
    if band is not None and band < 1:
        raise InputError(f"expected a band of at least 1 pixel, got {band}: give a larger one")
    band = band or band_of(size)
    given = probabilities.float().cpu()
    masks = [_snapped(matting, picture, mask, band) for mask in given]
    return torch.stack(masks).to(probabilities) if masks else probabilities.clone()


def snapped(segmentation: Segmentation, image: Picture, band: int | None = None) -> Segmentation:
    """The segmentation with its masks snapped; logits, probabilities and scores stay the head's.

    What negatives took out stays out. What is found stays so: the inside of a mask is not asked
    anew.

    Args:
        segmentation: Of this picture.
        image: As in `snap`, of the masks' size.
        band: As in `snap`.

    Raises:
        LDZNetError: As in `snap`.
    """
    masks = threshold_mask(snap(image, segmentation.masks, band), EDGE)
    return replace(segmentation, masks=subtract(masks, segmentation.removed))


def band_of(size: tuple[int, int]) -> int:
    """The default band, in pixels, for a picture of this (height, width)."""
    return max(1, round(BAND_SHARE * math.sqrt(size[0] * size[1])))


def load_matting() -> Matting:
    """The package's solver.

    Raises:
        LDZNetError: It is not installed, or too old for the packages around it.
    """
    try:
        matting: Matting = import_module("pymatting").estimate_alpha_cf
    except Exception as error:  # it compiles itself, which fails in many ways with a newer numpy
        raise LDZNetError(
            f"expected the package pymatting, which snaps masks to edges, got {str(error)!r}: "
            f'install it with `"{sys.executable}" -m pip install -U pymatting`'
        ) from error
    return matting


def _snapped(matting: Matting, picture: Image, mask: Tensor, band: int) -> Tensor:
    """One soft mask ``(H, W)``, snapped, or itself if it cannot be."""
    size = size_of(picture)
    is_large = size[0] * size[1] > _MOST_PIXELS
    if is_large or band > _WIDEST:
        half = (math.ceil(size[0] / 2), math.ceil(size[1] / 2))
        smaller, smaller_mask = picture.resize((half[1], half[0])), _resized(mask, half)
        found = _snapped(matting, smaller, smaller_mask, math.ceil(band / 2))
        if found is smaller_mask:
            return mask
        mask, band = _resized(found, size), _FINE
        if is_large:
            return mask
    trimap = _trimap(mask, band)
    if min(size) < _LEAST_SIDE or not {_OUTSIDE, _INSIDE} <= set(np.unique(trimap)):
        return mask
    window = tuple(
        slice(max(0, int(found.min()) - _MARGIN), int(found.max()) + _MARGIN + 1)
        for found in np.nonzero(trimap == _UNKNOWN)
    )
    with redirect_stdout(StringIO()):  # it prints how its solver fares
        trimap[window] = matting((np.asarray(picture) / 255.0)[window], trimap[window])
    return torch.from_numpy(trimap).float()


def _resized(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return resize(mask[None], size)[0]


def _trimap(mask: Tensor, band: int) -> NDArray[np.float64]:
    """``(H, W)``: nothing is known within the band around a mask's edge."""
    hard = threshold_mask(mask, EDGE)[None]
    reached, left = grow(hard, band), 1 - grow(1 - hard, band)
    trimap: NDArray[np.float64] = ((reached + left) / 2)[0].double().numpy()
    return trimap
