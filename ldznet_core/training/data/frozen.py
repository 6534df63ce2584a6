"""The latent diffusion model that a head is trained on: it looks, and does not learn."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ...backbone import Backbone
from ...capture import Features, capturing
from ...noise import NoiseSchedule, seeded_noise
from ...taps import TapsOf
from ...unet import UNet
from ..plan import Batch

FEATURES = "features-"
"""Stands before a block's number in the name of its features."""


class TrainingBackbone(Backbone, Protocol):
    """One of the library's own backbones: its UNet and its noise are at hand."""

    @property
    def unet(self) -> UNet:
        """As far as its taps are read, at least."""

    @property
    def schedule(self) -> NoiseSchedule:
        """Of the noise that the UNet knows."""

    @property
    def device(self) -> torch.device:
        """Where its networks are."""


class FrozenModel:
    """Gives what a head learns from: latents, text, and features under noise."""

    def __init__(self, backbone: TrainingBackbone, taps_of: TapsOf) -> None:
        """Join a backbone and the places where features are taken.

        Args:
            backbone: Frozen, in eval mode.
            taps_of: The head's own; none, for a head that reads no features.
        """
        self.backbone = backbone
        self._taps_of = taps_of

    @torch.no_grad()
    def see(self, batch: Batch) -> dict[str, Tensor]:
        """What a batch of `examples.together` looks like to the model, in its own precision.

        Returns:
            ``latents`` (S, 4, h, w), clean; ``context`` (P, T, D); and ``features-<block>``
            (S, C, h', w') of each tap, each row under its own noise.
        """
        backbone = self.backbone
        texts = list(dict.fromkeys([*batch["phrases"], *batch["conditions"]]))
        with torch.autocast(backbone.device.type, enabled=False):  # latents would be too coarse
            latents = torch.cat([backbone.encode_image(each) for each in batch["pictures"]])
            contexts = backbone.encode_text(texts)
            asked = contexts[[texts.index(phrase) for phrase in batch["phrases"]]]
            told = contexts[[texts.index(condition) for condition in batch["conditions"]]]
            features = self._features(latents, told, batch)
        return {"latents": latents, "context": asked, **features}

    def _features(self, latents: Tensor, context: Tensor, batch: Batch) -> dict[str, Tensor]:
        unet = self.backbone.unet
        taps = self._taps_of(unet)
        if not taps:
            return {}
        weight = next(unet.parameters())
        noise = torch.cat([seeded_noise(latents[:1].shape, seed) for seed in batch["noise_seeds"]])
        timesteps = batch["timesteps"].to(latents.device)
        noisy = self.backbone.schedule.add_noise(latents, noise.to(latents), timesteps)
        with capturing(unet, taps, stop_after_last=True) as capture:
            unet(noisy.to(weight), timesteps, context.to(weight))
        return {f"{FEATURES}{block}": feature for block, feature in capture.blocks.items()}


def features_of(batch: Batch) -> Features:
    """The features of a batch of `FrozenModel.see`, as heads read them."""
    blocks = {
        int(name.removeprefix(FEATURES)): value
        for name, value in batch.items()
        if name.startswith(FEATURES)
    }
    return Features(blocks, float(batch["timesteps"].float().mean()), "probe")
