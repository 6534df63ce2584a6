"""The second stage: the UNet learns to denoise latents, together with its text encoder."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from ..frames import STRIDE
from ..miniature.networks import build_unet, load_unet, save_unet
from ..miniature.parts import training_of
from ..miniature.sampling import GUIDANCE, Guidance, sample
from ..miniature.text import (
    TextEncoder,
    load_text_encoder,
    over_tokens,
    save_text_encoder,
    tokenize,
    tokens_of,
)
from ..miniature.vae import decode, encode
from ..noise import NoiseSchedule
from ..unet import UNet
from ..world import Draw, caption, draw_layout, vocabulary
from .cache import SceneCache
from .plan import Batch, Plan, told_with
from .randomness import generator_for
from .sheets import grid

_SNR_CAP = 5.0  # min-SNR-5 weighting, Hang et al. 2023 (arXiv 2303.09556)
_OFFSET = 0.1  # of the noise's mean: SD's last timestep still shows the latents' mean, and a model
# that trusts it paints what the noise happens to be instead of the prompt (Guttenberg 2023)
_SHEET_STEPS = 20


class _Objective(nn.Module):
    def __init__(self, unet: UNet, text_encoder: TextEncoder) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self._schedule = NoiseSchedule()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted error of the predicted noise.

        The batch has ``latents`` and ``noise`` (B, 4, h, w), ``timesteps`` (B,), the distinct
        captions' ``token_ids`` (N, 77), and which of them each row has in ``captions`` (B,).
        """
        timesteps = batch["timesteps"]
        noisy = self._schedule.add_noise(batch["latents"], batch["noise"], timesteps)
        context = self.text_encoder(batch["token_ids"])[batch["captions"]]
        predicted = self.unet(noisy, timesteps, context).float()
        error = F.mse_loss(predicted, batch["noise"], reduction="none").mean(dim=(1, 2, 3))
        level = self._schedule.alphas_cumprod.to(timesteps.device)[timesteps]
        ratio = level / (1 - level)
        return {
            "loss": (error * ratio.clamp(max=_SNR_CAP) / ratio).mean(),
            "noise_error": error.mean().detach(),
        }


class LDMStage:
    """Trains the denoising UNet and its text encoder on cached latents."""

    name = "ldm"

    def __init__(
        self,
        scenes: SceneCache,
        vae: AutoencoderKL,
        vae_name: str,
        *,
        start: Path | None = None,
        sheet_columns: int = 8,
    ) -> None:
        self._scenes, self._vae = scenes, vae
        tokens = tokens_of(vocabulary(scenes.world))
        if start is None:
            self._text_encoder, self._earlier = TextEncoder(tokens), ""
            self._unet = build_unet(self._text_encoder.width)
        else:
            self._text_encoder = over_tokens(load_text_encoder(start / "text_encoder"), tokens)
            self._unet = load_unet(start / "unet").requires_grad_(True)
            self._earlier = training_of(start / "unet")
        self._latents = scenes.latents(vae_name, lambda images: encode(vae, images.to(vae.device)))
        self.objective: nn.Module = _Objective(self._unet, self._text_encoder)
        self._columns = sheet_columns

    def batch(self, plan: Plan, step: int, process: int) -> Batch:
        """Latents of random scenes with fresh captions, noise and timesteps."""
        draw = Draw("ldm", plan.seed, step, process)
        generator = generator_for("ldm noise", plan.seed, step, process)
        indices = [draw.below(len(self._latents)) for _ in range(plan.batch)]
        texts = [caption(self._scenes.layout(index), draw) for index in indices]
        distinct = sorted(set(texts))
        number = {text: position for position, text in enumerate(distinct)}
        latents = torch.stack(
            [torch.from_numpy(self._latents[i].astype("float32")) for i in indices]
        )
        return {
            "latents": latents,
            "noise": _noise(latents.shape, generator),
            "timesteps": torch.randint(0, 1000, (plan.batch,), generator=generator),
            "token_ids": tokenize(distinct),
            "captions": torch.tensor([number[text] for text in texts]),
        }

    def sheet(self) -> Image.Image:
        """Pictures made for the captions of held-out scenes."""
        count = 4 * self._columns
        world = self._scenes.world
        prompts = [caption(draw_layout(world, "validation", i), plain=True) for i in range(count)]
        device = next(self._unet.parameters()).device
        context = self._text_encoder(tokenize(prompts).to(device))
        empty = self._text_encoder(tokenize([""]).to(device))
        side = self._scenes.side // STRIDE
        generator = generator_for("sheet")
        noise = torch.randn((count, 4, side, side), generator=generator).to(device)
        guidance = Guidance(context, empty, GUIDANCE)
        latents, _ = sample(self._unet, noise, guidance, _SHEET_STEPS, generator)
        return grid(decode(self._vae, latents), self._columns)

    def publish(self, folder: Path, provenance: str) -> None:
        """Write ``unet`` and ``text_encoder``."""
        training = told_with(self._earlier, provenance)
        save_unet(self._unet, folder / "unet", training)
        save_text_encoder(self._text_encoder, folder / "text_encoder", training)


def _noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Noise ``(B, 4, h, w)`` of variance 1 whose channels' means are a little off zero."""
    offset = torch.randn((*shape[:2], 1, 1), generator=generator)
    return torch.randn(shape, generator=generator) + _OFFSET * offset
