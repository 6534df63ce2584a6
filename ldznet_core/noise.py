"""The noise of Stable Diffusion: how much of it there is at a timestep, and how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import InputError


class NoiseSchedule:
    """How much noise the latents hold at each timestep; the defaults are Stable Diffusion's.

    The variances grow as the square of a straight line ("scaled linear").
    """

    def __init__(
        self, beta_start: float = 0.00085, beta_end: float = 0.012, steps: int = 1000
    ) -> None:
        roots = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64)
        self.alphas_cumprod = torch.cumprod(1.0 - roots**2, dim=0).float()
        """``(steps,)`` fp32: the share of the signal's variance that is left, falling from 1."""

    def add_noise(self, latents: Tensor, noise: Tensor, timestep: float | Tensor) -> Tensor:
        """Latents as they are at a timestep, ``(B, C, h, w)``.

        Args:
            latents: ``(B, C, h, w)``, clean.
            noise: The same shape, of variance 1.
            timestep: 0 to 999, whole: one for all, or ``(B,)`` integers.
        """
        alpha = self._alpha(timestep).to(latents.device).reshape(-1, 1, 1, 1)
        return alpha.sqrt().to(latents.dtype) * latents + (1 - alpha).sqrt().to(noise.dtype) * noise

    def sigma(self, timestep: float | Tensor) -> Tensor:
        """The noise's standard deviation where the signal keeps its own: 0.03 to 14.6."""
        alpha = self._alpha(timestep)
        return ((1 - alpha) / alpha).sqrt()

    def _alpha(self, timestep: float | Tensor) -> Tensor:
        if isinstance(timestep, Tensor):
            return self.alphas_cumprod.to(timestep.device)[timestep]
        last = len(self.alphas_cumprod) - 1
        if not (0 <= timestep <= last and timestep == int(timestep)):
            raise InputError(
                f"expected a whole timestep from 0 to {last}, got {timestep}: round it or clamp it"
            )
        return self.alphas_cumprod[int(timestep)]


def seeded_noise(
    shape: Sequence[int],
    seed: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Noise of variance 1 that is the same for a seed on every device: it is drawn on the CPU."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator).to(device=device, dtype=dtype)
