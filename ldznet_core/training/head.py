"""The third stage: the paper's head learns masks from the frozen model's latents and features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..capture import Features, capturing
from ..checkpoint import save_head
from ..head import HeadConfig, LDZNetHead
from ..miniature.model import Miniature
from ..miniature.sampling import RANGE
from ..miniature.text import tokenize
from ..miniature.vae import encode
from ..noise import seeded_noise
from ..probe import probe_features
from ..taps import find_taps
from ..world import Draw, Phrase, caption, draw_phrases, mask_of
from .cache import SceneCache, to_unit_range
from .plan import Batch, Plan
from .sheets import grid

_WINDOW = (300, 500)  # timesteps, the paper's (section 3.2)
_CAPTIONED = 0.5  # share of features that saw the scene's caption, as a sampler's do
_RESTORED = 0.5  # share of latents that are the miniature's own, as those of its pictures are
_ABSENT = 0.3  # share of phrases that name nothing in the scene
_OVERLAP_WEIGHT = 0.5
_SHEET_SCENES = 12


class _Objective(nn.Module):
    """The head is trained; the miniature stays frozen, and outside of the saved state."""

    def __init__(self, head: LDZNetHead, miniature: Miniature) -> None:
        super().__init__()
        self.head = head
        self._frozen = (miniature,)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of the masks.

        The batch has ``latents`` (B, 4, h, w), ``phrase_ids`` and ``condition_ids`` (B, 77) tokens,
        one ``timestep`` and ``noise_seed``, ``is_restored`` (B, 1, 1, 1), and ``masks`` (B, H, W)
        of 0 and 1.
        """
        (miniature,) = self._frozen
        with torch.no_grad():
            context = miniature.text_encoder(batch["phrase_ids"])
            condition = miniature.text_encoder(batch["condition_ids"])
            features, restored = _denoise(
                miniature,
                batch["latents"],
                condition,
                batch["timestep"],
                seeded_noise(batch["latents"].shape, batch["noise_seed"]),
            )
            latents = torch.where(batch["is_restored"], restored, batch["latents"])
        logits = self.head(latents, context, features)[:, 0].float()
        masks = batch["masks"]
        pixels = F.binary_cross_entropy_with_logits(logits, masks)
        overlap = _overlap_loss(logits, masks)
        return {
            "loss": pixels + _OVERLAP_WEIGHT * overlap,
            "pixels": pixels.detach(),
            "overlap": overlap.detach(),
        }


def _denoise(
    miniature: Miniature, latents: Tensor, condition: Tensor, timestep: float, noise: Tensor
) -> tuple[Features, Tensor]:
    """The features of noisy latents, and the clean latents that the miniature sees in them.

    What it sees is softer than the latents of a scene, as those of a picture that it paints are.
    """
    noise = noise.to(latents)
    noisy = miniature.schedule.add_noise(latents, noise, timestep)
    with capturing(miniature.unet, find_taps(miniature.unet)) as capture:
        predicted = miniature.unet(noisy, noisy.new_full((len(noisy),), timestep), condition)
    signal = miniature.schedule.alphas_cumprod[int(timestep)]
    restored = (noisy - (1 - signal).sqrt() * predicted) / signal.sqrt()
    return capture.features(timestep, "probe"), restored.clamp(-RANGE, RANGE)


def _overlap_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """One minus Dice's coefficient, over the masks that are not empty."""
    present = masks.flatten(1).any(dim=1)
    probabilities, masks = logits.sigmoid().flatten(1), masks.flatten(1)
    shared = 2 * (probabilities * masks).sum(dim=1) + 1
    loss = 1 - shared / (probabilities.sum(dim=1) + masks.sum(dim=1) + 1)
    return (loss * present).sum() / present.sum().clamp(min=1)


class HeadStage:
    """Trains the paper's head, started from the miniature's UNet."""

    name = "head"

    def __init__(
        self, scenes: SceneCache, held_out: SceneCache, miniature: Miniature, vae_name: str
    ) -> None:
        self._scenes, self._held_out, self._miniature = scenes, held_out, miniature
        self._latents = scenes.latents(
            vae_name, lambda images: encode(miniature.vae, images.to(miniature.device))
        )
        self._labels = scenes.labels()
        config = HeadConfig(
            family=miniature.family,
            unet=replace(miniature.unet.config, out_channels=1),
            image_side=scenes.side,
        )
        self._head = LDZNetHead.from_unet(miniature.unet.state_dict(), config)
        self.objective: nn.Module = _Objective(self._head, miniature)

    def batch(self, plan: Plan, step: int, process: int) -> Batch:
        """Random scenes, a phrase each; half of the features see the scene's caption instead."""
        draw = Draw("head", plan.seed, step, process)
        indices = [draw.below(len(self._latents)) for _ in range(plan.batch)]
        layouts = [self._scenes.layout(index) for index in indices]
        labels = [self._labels[index] for index in indices]
        phrases = [
            draw_phrases(layout, label, draw, 1, absent=_ABSENT)[0]
            for layout, label in zip(layouts, labels, strict=True)
        ]
        conditions = [
            caption(layout, draw) if draw.chance(_CAPTIONED) else phrase.text
            for layout, phrase in zip(layouts, phrases, strict=True)
        ]
        return {
            "latents": torch.from_numpy(
                np.stack([self._latents[index] for index in indices]).astype("float32")
            ),
            "phrase_ids": tokenize([phrase.text for phrase in phrases]),
            "condition_ids": tokenize(conditions),
            "masks": _masks(labels, phrases),
            "timestep": float(_WINDOW[0] + draw.below(_WINDOW[1] - _WINDOW[0] + 1)),
            "noise_seed": draw.below(2**31),
            "is_restored": torch.tensor([draw.chance(_RESTORED) for _ in indices])[
                :, None, None, None
            ],
        }

    def sheet(self) -> Image.Image:
        """Held-out scenes, each with a phrase's mask in red and what the head gives in green."""
        indices = range(_SHEET_SCENES)
        images = to_unit_range(self._held_out.images()[:_SHEET_SCENES])
        labels = self._held_out.labels()
        phrases = [
            draw_phrases(self._held_out.layout(i), labels[i], Draw("sheet", i), 1)[0]
            for i in indices
        ]
        masks = _masks([labels[i] for i in indices], phrases)
        device = self._miniature.device
        with torch.no_grad():
            latents = encode(self._miniature.vae, images.to(device))
            context = self._miniature.text_encoder(
                tokenize([phrase.text for phrase in phrases]).to(device)
            )
            features = probe_features(
                self._miniature.unet, latents, context, self._miniature.schedule
            )
            probabilities = self._head(latents, context, features).sigmoid()[:, 0].cpu()
        shown = [images, _tinted(images, masks, 0), _tinted(images, probabilities, 1)]
        half = _SHEET_SCENES // 2
        rows = [each[start : start + half] for start in (0, half) for each in shown]
        return grid(torch.cat(rows), half)

    def publish(self, folder: Path, provenance: str) -> None:
        """Write ``head-ldznet``; its thresholds are calibrated by ``ldznet evaluate``."""
        self._head.config = replace(self._head.config, training=provenance)
        save_head(self._head, folder / "head-ldznet", dtype=torch.float16)


def _masks(labels: list[np.ndarray], phrases: list[Phrase]) -> Tensor:
    masks = [mask_of(label, phrase.regions) for label, phrase in zip(labels, phrases, strict=True)]
    return torch.from_numpy(np.stack(masks)).float()


def _tinted(images: Tensor, masks: Tensor, channel: int) -> Tensor:
    """Greyish pictures ``(B, 3, H, W)`` with the ``(B, H, W)`` masks in one of the colours."""
    tinted = images.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1) * 0.5
    tinted[:, channel] += masks
    return tinted.clamp(-1, 1)
