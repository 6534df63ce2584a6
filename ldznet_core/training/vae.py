"""The first stage: a VAE on rendered scenes."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from ..errors import InputError
from ..miniature.parts import training_of
from ..miniature.vae import build_vae, load_vae, measure_scale, save_vae
from ..world import Draw
from .cache import SceneCache, to_unit_range
from .plan import Batch, Plan, told_with
from .sheets import grid, psnr

_KL_WEIGHT = 1e-6
_SHEET_SCENES = 16
_CHANNELS = (32, 32, 64, 64)  # where none are named


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
        self,
        scenes: SceneCache,
        held_out: SceneCache,
        crop: int,
        channels: tuple[int, ...] | None = None,
        start: Path | None = None,
        *,
        decoder_only: bool = False,
    ) -> None:
        if start is None:
            self._vae, self._earlier = build_vae(channels or _CHANNELS, scenes.side), ""
        else:
            self._vae, self._earlier = _begun(start / "vae", channels, scenes.side)
        self._keeps_latents = decoder_only
        if decoder_only:
            for kept in (self._vae.encoder, self._vae.quant_conv):
                kept.requires_grad_(False)
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
        if not self._keeps_latents:
            images = to_unit_range(self._held_out[:64]).to(self._vae.device)
            self._vae.register_to_config(scaling_factor=measure_scale(self._vae, images))
        save_vae(self._vae, folder / "vae", told_with(self._earlier, provenance))


def _begun(path: Path, channels: tuple[int, ...] | None, side: int) -> tuple[AutoencoderKL, str]:
    """A VAE to go on from, and what it says of its training so far."""
    vae = load_vae(path).requires_grad_(True)
    found = tuple(vae.config.block_out_channels)
    if channels not in (None, found):
        raise InputError(
            f"expected a VAE of channels {channels} in {path}, got {found}: leave out --channels, "
            "or --start"
        )
    vae.register_to_config(sample_size=side)
    return vae, training_of(path)
