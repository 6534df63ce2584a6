"""Stable Diffusion 1.x as a backbone: our UNet, the VAE of diffusers, CLIP of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel

from ..backbone import Posterior
from ..capture import BEST_TIMESTEP, Features
from ..checks import check_sides, checked_latents
from ..frames import STRIDE
from ..noise import NoiseSchedule
from ..phrases import check_texts
from ..pictures import to_picture
from ..probe import probe_features
from ..taps import TapsOf, find_taps
from ..tokenizer import count_tokens, tokenize
from ..unet import UNet
from .turns import OnUse

_REMEMBERED_PHRASES = 256


class StableDiffusionBackbone:
    """An SD 1.x model in our memory; a `Backbone` whose VAE can be sampled from.

    Pictures and phrases are encoded in float32 whatever the UNet computes in: it costs little, and
    latents in bfloat16 would be coarse. Each phrase is encoded by itself, and remembered.
    """

    family = "sd1"
    stride = STRIDE

    def __init__(self, vae: AutoencoderKL, text_encoder: CLIPTextModel, unet: OnUse[UNet]) -> None:
        """Join the parts.

        Args:
            vae: In float32; its encoder is enough.
            text_encoder: In float32.
            unet: In the dtype that it computes in.
        """
        self.vae, self.text_encoder = vae, text_encoder
        self.schedule = NoiseSchedule()
        self._unet = unet
        self._remembered = lru_cache(_REMEMBERED_PHRASES)(self._encode_phrase)

    @property
    def unet(self) -> UNet:
        """The UNet, loaded if need be; as far as the last tap, unless it was asked for whole."""
        return self._unet()

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        device: torch.device = next(self.text_encoder.parameters()).device
        return device

    @torch.no_grad()
    def encode_image(self, image: Image.Image) -> Tensor:
        """Clean latents ``(1, 4, H/8, W/8)`` of a picture: the posterior's mode.

        Raises:
            InputError: A side is no multiple of 8.
        """
        return self.encode_posterior(image).mode

    @torch.no_grad()
    def encode_posterior(self, image: Image.Image) -> Posterior:
        """What the VAE says of a picture, scaled as the UNet takes latents.

        Raises:
            InputError: A side is no multiple of 8.
        """
        picture = to_picture(image)
        check_sides(picture)
        self._unet.begin()  # its turn comes with the picture: the VAE needs room to work, too
        levels = torch.from_numpy(np.array(picture))  # (H, W, 3), 0 to 255
        pixels = levels.permute(2, 0, 1)[None].to(self.device, torch.float32) / 127.5 - 1
        encoded: Any = self.vae.encode(pixels).latent_dist
        factor = self.vae.config.scaling_factor
        return Posterior(encoded.mode() * factor, encoded.std * factor)

    @torch.no_grad()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Text features ``(P, 77, D)`` in float32, after CLIP's last norm.

        Raises:
            InputError: A phrase has more than 77 tokens.
        """
        return torch.cat([self._remembered(phrase) for phrase in check_texts(phrases)])

    @torch.no_grad()
    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = BEST_TIMESTEP,
        generator: torch.Generator | None = None,
        taps_of: TapsOf = find_taps,
    ) -> Features:
        """Features of clean latents ``(1, 4, h, w)`` under noise, a row for each phrase."""
        context = self.encode_text(phrases)
        unet = self._unet()
        weight = next(unet.parameters())
        return probe_features(
            unet,
            checked_latents(latents, weight, self.family),
            context.to(weight),
            self.schedule,
            t=t,
            generator=generator,
            taps_of=taps_of,
        )

    def count_tokens(self, phrases: Sequence[str]) -> list[int]:
        """How many tokens each phrase has, the start and the end token included."""
        return count_tokens(phrases)

    def _encode_phrase(self, phrase: str) -> Tensor:
        tokens = tokenize([phrase]).to(self.device)
        context: Tensor = self.text_encoder(input_ids=tokens).last_hidden_state
        return context
