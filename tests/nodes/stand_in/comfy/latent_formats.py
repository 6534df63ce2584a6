"""Imitates comfy/latent_formats.py of ComfyUI 0.8.0: the scale between the VAE and the UNet."""

from __future__ import annotations

from torch import Tensor


class LatentFormat:
    """Four channels of a scale; the numbers of a LATENT are the VAE's own, unscaled."""

    scale_factor = 1.0
    latent_channels = 4

    def process_in(self, latent: Tensor) -> Tensor:
        return latent * self.scale_factor

    def process_out(self, latent: Tensor) -> Tensor:
        return latent / self.scale_factor


class SD15(LatentFormat):
    """Stable Diffusion 1.x."""

    scale_factor = 0.18215
