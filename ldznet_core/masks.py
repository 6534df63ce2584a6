"""From logits to masks: pure functions of tensors, whose first dimension is the phrase."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SCORED_SHARE = 0.01
"""A phrase is scored by this share of the pixels, the most probable ones."""

EDGE = 0.5
"""The value at which a soft mask has its edge."""


def resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits at another size, bilinear with ``align_corners=False``.

    Args:
        logits: ``(P, h, w)``.
        size: (height, width) of the result.
    """
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def presence_scores(probabilities: Tensor) -> Tensor:
    """How surely each thing is there at all: the mean of its most probable 1 % of pixels.

    Args:
        probabilities: ``(P, H, W)`` in [0, 1].

    Returns:
        ``(P,)`` in [0, 1]. Of fewer than 100 pixels, the most probable one counts.
    """
    pixels = probabilities.flatten(1)
    count = math.ceil(SCORED_SHARE * pixels.shape[1])
    return pixels.topk(count, dim=1).values.mean(dim=1)


def threshold_mask(probabilities: Tensor, threshold: float) -> Tensor:
    """1 where a probability is above the threshold and 0 elsewhere, shape and dtype kept."""
    return (probabilities > threshold).to(probabilities.dtype)


def union(masks: Tensor) -> Tensor:
    """``(P, H, W)`` masks in [0, 1] to the ``(H, W)`` mask of all; of no masks, it is empty."""
    return masks.amax(dim=0) if len(masks) else masks.new_zeros(masks.shape[1:])


def subtract(masks: Tensor, removed: Tensor) -> Tensor:
    """``(P, H, W)`` masks without what the ``(H, W)`` mask covers; both in [0, 1]."""
    return masks * (1 - removed)


def grow(masks: Tensor, pixels: int) -> Tensor:
    """``(P, H, W)`` masks in [0, 1] that reach this many pixels further to every side.

    The work grows with the reach's logarithm: each step looks as far to either side as what earlier
    ones reached leaves no gap.
    """
    masks, reach = F.pad(masks, (pixels,) * 4), 0
    while reach < pixels:
        step = min(2 * reach + 1, pixels - reach)
        masks = F.max_pool2d(masks, (3, 1), stride=1, dilation=(step, 1))
        masks = F.max_pool2d(masks, (1, 3), stride=1, dilation=(1, step))
        reach += step
    return masks


def feather(masks: Tensor, pixels: int) -> Tensor:
    """``(P, H, W)`` masks in [0, 1] whose edges fade over this many pixels to either side.

    What lies further inside stays 1, what lies further outside 0, exactly. The picture's border is
    no edge: a mask that runs into it stays whole there.
    """
    for reach in (pixels // 2, pixels - pixels // 2):  # two boxes fade smoothly, like a tent
        masks = _box_blur(masks, reach)
    return masks


def keep_present(masks: Tensor, is_present: Tensor) -> Tensor:
    """``(P, H, W)`` masks, emptied where the ``(P,)`` booleans say that the thing is absent."""
    return torch.where(is_present[:, None, None], masks, 0.0)


def assume_present(probabilities: Tensor, scores: Tensor) -> Tensor:
    """Probabilities as if each thing were surely there, ``(P, H, W)``: what tells its shape alone.

    With a the odds against a pixel if the thing is there, and b those against the thing, a head
    gives p = 1 / (1 + a + b), and the score is 1 / (1 + b). So a is 1 / p less 1 / score.

    Args:
        probabilities: ``(P, H, W)`` in [0, 1].
        scores: ``(P,)`` in [0, 1], of `presence_scores`.
    """
    least = torch.finfo(probabilities.dtype).tiny
    odds = 1 / probabilities.clamp_min(least) - 1 / scores.clamp_min(least)[:, None, None]
    return 1 / (1 + odds.clamp_min(0))


def _box_blur(masks: Tensor, reach: int) -> Tensor:
    """The mean over a square that reaches this many pixels to every side."""
    if not reach:
        return masks
    padded = F.pad(masks, (reach, reach, reach, reach), mode="replicate")
    for kernel in ((2 * reach + 1, 1), (1, 2 * reach + 1)):
        padded = F.avg_pool2d(padded, kernel, stride=1)
    return padded.clamp(0, 1)
