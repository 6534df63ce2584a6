"""Features of latents that no sampler is working on: noise is added, and the UNet looks once."""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor, nn

from .capture import Features, capturing
from .errors import InputError
from .frames import pad_to_multiple
from .noise import NoiseSchedule
from .taps import TapsOf, find_taps


@torch.no_grad()
def probe_features(
    unet: nn.Module,
    latents: Tensor,
    context: Tensor,
    schedule: NoiseSchedule,
    *,
    t: float = 400.0,
    generator: torch.Generator | None = None,
    taps_of: TapsOf = find_taps,
) -> Features:
    """Features in the frame of the padded latents (`frames.pad_to_multiple`), a row per phrase.

    The pass ends after the last tap. One noise is drawn for each picture and shared by its
    phrases, so that the features of a phrase do not depend on its company.

    Args:
        unet: Of LDM layout, called as ``unet(x, timesteps, context)``.
        latents: ``(P, C, h, w)`` of any size, or one row for all phrases; clean.
        context: ``(P, T, D)`` text features.
        schedule: Of the noise that the UNet was trained on.
        t: The timestep, a whole number from 0 to 999.
        generator: Source of the noise; None means a fixed seed.
        taps_of: Finds where features are taken.

    Raises:
        InputError: The timestep is none.
    """
    given: object = t  # a caller without types may give a word
    if not isinstance(given, Real | Tensor):
        raise InputError(f"expected a whole timestep from 0 to 999, got {t!r}: 400 will do")
    t = float(t)
    padded = pad_to_multiple(latents)
    noisy = schedule.add_noise(padded, probe_noise(padded, generator), t)
    phrases = len(context)
    timesteps = torch.full((phrases,), t, device=noisy.device)  # half precision rounds them
    taps = taps_of(unet)
    with capturing(unet, taps, stop_after_last=True, this_thread=True) as capture:
        unet(noisy.expand(phrases, -1, -1, -1), timesteps, context)
    return capture.features(t, "probe")


def probe_noise(latents: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The noise of a probe, of the latents' shape, dtype and device, and of variance 1.

    Args:
        latents: ``(B, C, h, w)``, padded already.
        generator: Source of the noise; None means a fixed seed.
    """
    generator = generator or torch.Generator().manual_seed(0)
    return torch.randn(latents.shape, generator=generator, device=generator.device).to(latents)
