"""What Forge and reForge have in common, which A1111 has not.

One thread owns the models, and UNets are called with sigmas in the place of timesteps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from modules_forge import main_thread
from torch import Tensor

from ldznet_core import Features, capturing
from ldznet_core.probe import probe_noise
from ldznet_core.taps import TapsOf

from .inpainting import seen_besides
from .passes import Pass, Rows, rows_by_kind
from .webui import WebUI

T = TypeVar("T")


class ForgeLike(WebUI):
    """The part of a `Host` that is the same in both."""

    def prompts_of(self, passed: Pass, step: Any) -> Rows:
        """Which row of a pass is each picture's prompt."""
        return rows_by_kind(passed, len(step.x))

    def exclusively(self, work: Callable[[], T]) -> T:
        """Do work while nothing is generated, on the thread that owns the models."""
        outcome: list[T] = []
        failure: list[BaseException] = []

        def attempt() -> None:  # the host's thread prints what is raised, and returns None
            try:
                outcome.append(work())
            except BaseException as error:
                failure.append(error)

        super().exclusively(lambda: main_thread.run_and_wait_result(attempt))
        if failure:
            raise failure[0]
        return outcome[0]


def probe(
    model: Any,
    schedule: Any,
    clean: Tensor,
    context: Tensor,
    t: float,
    generator: torch.Generator | None,
    taps_of: TapsOf,
) -> Features:
    """Features of clean latents under noise, a row for each phrase.

    Args:
        model: What hosts call with latents and sigmas, around its UNet.
        schedule: Of the model: tells the sigma of a timestep, and mixes noise and latents.
        clean: ``(1, C, h, w)``, padded, where the model is.
        context: ``(P, T, D)`` text features, there too.
        t: The timestep.
        generator: Source of the noise; None means a fixed seed.
        taps_of: Finds where features are taken.
    """
    sigma = schedule.sigma(torch.tensor([t], device=clean.device)).to(clean)
    noisy = schedule.noise_scaling(sigma, probe_noise(clean, generator), clean)
    count = len(context)
    unet = model.diffusion_model
    with capturing(unet, taps_of(unet), stop_after_last=True) as capture:
        model.apply_model(
            noisy.expand(count, -1, -1, -1),
            sigma.expand(count),
            c_concat=seen_besides(unet, clean, count),
            c_crossattn=context,
            transformer_options={},
        )
    return capture.features(t, "probe")
