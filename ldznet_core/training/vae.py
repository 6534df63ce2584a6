"""The first stage: a VAE on rendered scenes."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from ..miniature.vae import build_vae, measure_scale, save_vae
from ..world import Draw
from .cache import SceneCache, to_unit_range
from .plan import Batch, Plan
from .sheets import grid, psnr

_KL_WEIGHT = 1e-6
_SHEET_SCENES = 16


class _Objective(nn.Module):
    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Reconstruction and KL losses of ``images`` (B, 3, S, S) in [-1, 1]."""
        images: Tensor = batch["images"]
        posterior = self.vae.encode(images).latent_dist
        restored = self.vae.decode(posterior.sample()).sample.float()
        squared = F.mse_loss(restored, images)
        divergence = posterior.kl().float().mean()
        loss = F.l1_loss(restored, images) + 2 * squared + _KL_WEIGHT * divergence
        return {"loss": loss, "psnr": psnr(squared.detach()), "kl": divergence}


class VAEStage:
    """Trains the VAE on random crops."""

    name = "vae"

    def __init__(
        self, scenes: SceneCache, held_out: SceneCache, channels: tuple[int, ...], crop: int
    ) -> None:
        self._vae = build_vae(channels, scenes.side)
        self.objective: nn.Module = _Objective(self._vae)
        self._crop = crop
        self._images, self._held_out = scenes.images(), held_out.images()

    def batch(self, plan: Plan, step: int, process: int) -> Batch:
        """Crops of random scenes."""
        draw = Draw("vae", plan.seed, step, process)
        room = self._images.shape[1] - self._crop + 1
        crops = []
        for _ in range(plan.batch):
            index, top, left = draw.below(len(self._images)), draw.below(room), draw.below(room)
            crops.append(
                to_unit_range(
                    self._images[index, None, top : top + self._crop, left : left + self._crop]
                )
            )
        return {"images": torch.cat(crops)}

    def sheet(self) -> Image.Image:
        """Held-out scenes above what the VAE makes of them."""
        images = to_unit_range(self._held_out[:_SHEET_SCENES]).to(self._vae.device)
        restored = self._vae.decode(self._vae.encode(images).latent_dist.mode()).sample
        half = _SHEET_SCENES // 2
        rows = [images[:half], restored[:half], images[half:], restored[half:]]
        return grid(torch.cat(rows), columns=half)

    def publish(self, folder: Path, provenance: str) -> None:
        """Write ``vae.safetensors`` with the factor that scales its latents to a deviation of 1."""
        images = to_unit_range(self._held_out[:64]).to(self._vae.device)
        self._vae.register_to_config(scaling_factor=measure_scale(self._vae, images))
        save_vae(self._vae, folder / "vae", provenance)
