"""The miniature's sampling: diffusers' stochastic DDIM with guidance, capture and inpainting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from ..capture import WINDOW, Features, capturing, is_in_window
from ..taps import TapsOf, find_taps
from ..unet import UNet

GUIDANCE = 5.0
"""How strictly prompts are followed, chosen by eye among 2 to 6."""

RANGE = 3.0
"""Predicted latents, whose deviation is 1, are kept within this."""

_FRESH_NOISE = 1.0  # DDIM's eta: noise renewed at each step repairs what a small model gets wrong


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a picture is steered by.

    Attributes:
        context: ``(B, T, D)`` text features of the prompts.
        unconditional: ``(1, T, D)`` text features that they are compared with.
        scale: how far to go from those towards the prompt; 1 needs no comparison.
    """

    context: Tensor
    unconditional: Tensor
    scale: float


@dataclass(frozen=True, slots=True)
class Repaint:
    """What an inpainting keeps.

    Attributes:
        latents: ``(1, 4, h, w)``, clean, of the picture.
        mask: ``(1, 1, h, w)`` in [0, 1]; 1 is painted anew.
    """

    latents: Tensor
    mask: Tensor


def make_scheduler(steps: int) -> DDIMScheduler:
    """Stable Diffusion's noise schedule, walked in equal strides from its last timestep."""
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=True,
        clip_sample_range=RANGE,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    return scheduler


def sample(
    unet: UNet,
    noise: Tensor,
    guidance: Guidance,
    steps: int,
    generator: torch.Generator,
    *,
    captures: bool = False,
    taps_of: TapsOf = find_taps,
    window: tuple[float, float] = WINDOW,
    repaint: Repaint | None = None,
    begins_at: float | None = None,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Tensor, list[Features]]:
    """Latents made from noise, and the features captured on the way.

    Args:
        unet: predicts the noise.
        noise: ``(B, 4, h, w)`` of deviation 1; sides in multiples of the UNet's stride.
        guidance: what steers it, one prompt a row or one for all.
        steps: UNet passes.
        generator: source of the noise that each step renews, on the CPU.
        captures: whether to keep the prompt's features.
        taps_of: finds where they are taken.
        window: the timesteps at which they are taken, the first and the last.
        repaint: what to keep of another picture.
        begins_at: the timestep from which on steps are made, with ``noise`` for the noisy latents
            there; None is the first one's.
        on_step: told the number of steps done.

    Returns:
        Clean latents ``(B, 4, h, w)``, and the features in the order of the passes.
    """
    scheduler = make_scheduler(steps)
    timesteps = scheduler.timesteps
    if begins_at is not None:
        timesteps = timesteps[timesteps <= begins_at]
    taps = taps_of(unet) if captures else None
    latents, captured = noise, []
    for done, timestep in enumerate(timesteps, start=1):
        if repaint is not None:
            known = scheduler.add_noise(repaint.latents, noise, timestep[None])
            latents = repaint.mask * latents + (1 - repaint.mask) * known
        if taps is not None and is_in_window(float(timestep), window):
            with capturing(unet, taps, this_thread=True) as recorder:
                predicted = _predict(unet, latents, timestep, guidance)
            of_prompt = slice(-len(latents), None)
            captured.append(recorder.features(float(timestep), "sampling", of_prompt))
        else:
            predicted = _predict(unet, latents, timestep, guidance)
        step = scheduler.step(predicted, timestep, latents, eta=_FRESH_NOISE, generator=generator)
        latents = step.prev_sample
        if on_step:
            on_step(done)
    if repaint is not None:
        latents = repaint.mask * latents + (1 - repaint.mask) * repaint.latents
    return latents, captured


def _predict(unet: UNet, latents: Tensor, timestep: Tensor, guidance: Guidance) -> Tensor:
    """The guided noise; in a pass of two halves, the unconditional rows come first."""
    count = len(latents)
    context = guidance.context.expand(count, -1, -1)
    if guidance.scale == 1:
        guided: Tensor = unet(latents, timestep[None], context)
        return guided
    both = torch.cat([guidance.unconditional.expand(count, -1, -1), context])
    plain, prompted = unet(torch.cat([latents, latents]), timestep[None], both).chunk(2)
    towards_prompt: Tensor = plain + guidance.scale * (prompted - plain)
    return towards_prompt
