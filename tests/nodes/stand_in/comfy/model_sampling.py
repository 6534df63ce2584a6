"""Imitates comfy/model_sampling.py of ComfyUI 0.8.0: sigmas, timesteps, noise (EPS, EDM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ModelSamplingDiscrete(nn.Module):
    """Stable Diffusion's thousand noise levels."""

    sigmas: Tensor
    log_sigmas: Tensor
    sigma_data = 1.0

    def __init__(self) -> None:
        super().__init__()
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        kept = torch.cumprod(1 - betas, dim=0)
        sigmas = ((1 - kept) / kept).sqrt()
        self.register_buffer("sigmas", sigmas.float())
        self.register_buffer("log_sigmas", sigmas.log().float())

    @property
    def sigma_max(self) -> Tensor:
        return self.sigmas[-1]

    def timestep(self, sigma: Tensor) -> Tensor:
        """The nearest of the levels, by the logarithm: a whole number."""
        return (sigma.log() - self.log_sigmas[:, None]).abs().argmin(dim=0).view(sigma.shape)

    def sigma(self, timestep: Tensor) -> Tensor:
        """Its inverse, interpolated between levels."""
        t = timestep.float().clamp(0, len(self.sigmas) - 1)
        low, high, part = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - part) * self.log_sigmas[low] + part * self.log_sigmas[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """Of the way through sampling, as prompts are scheduled."""
        if not 0.0 < percent < 1.0:
            return 0.0 if percent >= 1.0 else 999999999.9
        return float(self.sigma(torch.tensor((1.0 - percent) * 999.0)))

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """Noisy latents at the scale that the UNet was trained for."""
        return noise / (_column(sigma) ** 2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        return model_input - model_output * _column(sigma)

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor) -> Tensor:
        """Noise at a level on top of latents."""
        return noise * _column(sigma) + latent_image


class ModelSamplingContinuousEDM(ModelSamplingDiscrete):
    """Any level, told to the UNet by a logarithm; the host makes it of ContinuousEDM and EDM."""

    def __init__(
        self, sigma_min: float = 0.002, sigma_max: float = 80.0, data: float = 0.5
    ) -> None:
        super().__init__()
        self.sigma_data = data
        limits = torch.tensor([sigma_min, sigma_max]).log()
        self.sigmas = torch.linspace(float(limits[0]), float(limits[1]), 1000).exp()
        self.log_sigmas = self.sigmas.log()

    def timestep(self, sigma: Tensor) -> Tensor:
        return 0.25 * sigma.log()

    def sigma(self, timestep: Tensor) -> Tensor:
        return (timestep / 0.25).exp()

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        level, data = _column(sigma), self.sigma_data
        whole = level**2 + data**2
        return model_input * data**2 / whole + model_output * level * data / whole**0.5


class ModelSamplingDiscreteFlow(nn.Module):
    """A flow that counts a thousand timesteps; only one of its two ways knows of the shift."""

    sigma_max = torch.tensor(1.0)
    multiplier = 1000

    def __init__(self, shift: float = 1.0) -> None:
        super().__init__()
        self.shift = shift

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma * self.multiplier

    def sigma(self, timestep: Tensor) -> Tensor:
        t = timestep / self.multiplier
        return self.shift * t / (1 + (self.shift - 1) * t)


class ModelSamplingFlux(nn.Module):
    """A flow, whose levels go from 0 to 1; it has no `sigma_data`."""

    sigma_max = torch.tensor(1.0)

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma


def _column(sigma: Tensor) -> Tensor:
    return sigma.view((*sigma.shape[:1], 1, 1, 1))
