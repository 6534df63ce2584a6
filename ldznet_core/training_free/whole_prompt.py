"""What a whole prompt was about, read off guided sampling at no cost.

Guidance compares two estimates of the noise at each step, with the prompt and without; where they
differ, the prompt has its say. Averaged over some steps, this is a map of all that it names.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from ..capture import is_in_window
from ..errors import InputError
from ..frames import STRIDE
from ..segmentation import Request, Segmentation, read_logits
from .noise import clipped, noise_difference

Side: TypeAlias = Literal["prompt", "reference"]
"""What is wanted of a picture, and what it is compared with: the negative prompt, or none."""

NAME = "the prompt"
"""What the mask is called."""

WINDOW = (200.0, 800.0)
"""The timesteps whose differences are averaged: more of them than for features, as each is but one
noise. Measured on the miniature's `validation`; so is the threshold (docs/results.md)."""

THRESHOLD = 0.35
"""Of the mask, as a share of three times the mean difference, beyond which nothing counts more."""

_FARTHEST_SHARE = 1e-4  # from 0 and 1, so that shares have logits


@dataclass
class PromptDifference:
    """How much a prompt changes the noise at each position, the mean over steps of sampling.

    The estimates of a step may come in one pass or in several, in any order, of one conditioning or
    more on either side.
    """

    window: tuple[float, float] = WINDOW
    """The timesteps that count."""
    steps: int = 0
    """How many gave both sides so far, the one under way left out."""
    _total: Tensor | None = field(default=None, repr=False)
    _step: _Step | None = field(default=None, repr=False)

    def wants(self, timestep: float) -> bool:
        """Whether passes at this timestep count."""
        return is_in_window(timestep, self.window)

    def add(
        self,
        estimates: Tensor,
        side: Side,
        timestep: float,
        *,
        sigma: float = 1.0,
        name: Hashable = None,
        weight: float = 1.0,
    ) -> None:
        """Take what a pass gave for one conditioning; a copy is kept until the next step.

        Estimates of noise are compared as they are. Those of clean latents, which some hosts give
        whatever their model predicts, differ by the noise's difference times its deviation. (At one
        timestep that of v is proportional to both.)

        Args:
            estimates: ``(B, C, h, w)`` of the whole picture, of any dtype; not written to.
            side: Whose they are.
            timestep: Of the pass, 0 to 999; outside of the window nothing is kept.
            sigma: The noise's deviation if they are of clean latents, 1 if they are of noise.
            name: Of the conditioning, whose first pass at a timestep counts: some kinds of guidance
                repeat it with a UNet made worse on purpose.
            weight: Of the conditioning among those of its side.
        """
        if not self.wants(timestep):
            return
        if self._step is None or self._step.timestep != timestep:
            self._close()
            self._step = _Step(timestep, sigma)
        self._step.add(estimates, side, name, weight)

    def maps(self) -> Tensor | None:
        """The mean over all steps, ``(B, h, w)`` float32; None if no step gave both sides."""
        self._close()
        return None if self._total is None else self._total / self.steps

    def _close(self) -> None:
        difference = None if self._step is None else self._step.difference()
        self._step = None
        if difference is not None:
            self.steps += 1
            self._total = difference if self._total is None else self._total + difference


def segment_prompt(difference: Tensor, threshold: float = THRESHOLD) -> Segmentation:
    """The mask of what a whole prompt was about; its probabilities are shares of the clipped map.

    Nothing tells whether a thing is there: every prompt changes something.

    Args:
        difference: ``(h, w)`` of one picture, from `PromptDifference`.
        threshold: The share above which a pixel is in the mask.

    Raises:
        InputError: The map is not finite, or the threshold not above 0 and below 1.
    """
    if not bool(difference.isfinite().all()):
        raise InputError(
            "expected finite numbers from the sampler, got NaN or infinity: let the model run in a "
            "higher precision"
        )
    size = (STRIDE * difference.shape[-2], STRIDE * difference.shape[-1])
    share = clipped(difference[None].float())[None]
    share = F.interpolate(share, size, mode="bicubic", align_corners=False)[0]
    logits = share.clamp(0, 1).logit(eps=_FARTHEST_SHARE)
    request = Request.checked([NAME], (), threshold)
    return read_logits(logits, request, size, presence_threshold=0.0, source="sampling")


@dataclass
class _Step:
    """The estimates of one step, as far as they have come."""

    timestep: float
    sigma: float
    sums: dict[Side, Tensor] = field(default_factory=dict)
    weights: dict[Side, float] = field(default_factory=dict)
    seen: set[tuple[Side, Hashable]] = field(default_factory=set)

    def add(self, estimates: Tensor, side: Side, name: Hashable, weight: float) -> None:
        if (side, name) in self.seen:
            return
        self.seen.add((side, name))
        weighed = estimates.detach().float() * weight
        self.weights[side] = self.weights.get(side, 0.0) + weight
        self.sums[side] = self.sums[side] + weighed if side in self.sums else weighed

    def difference(self) -> Tensor | None:
        """Of the noise, ``(B, h, w)``; None if a side is missing or has no weight."""
        if not (self.weights.get("prompt") and self.weights.get("reference")):
            return None
        prompt = self.sums["prompt"] / self.weights["prompt"]
        reference = self.sums["reference"] / self.weights["reference"]
        return noise_difference(prompt, reference) / self.sigma
