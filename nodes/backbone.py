"""ComfyUI's MODEL, CLIP and VAE as the segmenter's backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from torch import Tensor

from ..ldznet_core import Features, InputError, UnsupportedModelError, find_taps
from ..ldznet_core.capture import BEST_TIMESTEP
from ..ldznet_core.frames import STRIDE
from ..ldznet_core.phrases import check_token_count
from .miniature import FAMILY as MINIATURE
from .miniature import MiniatureModel
from .probing import probe

if TYPE_CHECKING:
    from PIL.Image import Image

_FAMILIES = {768: "sd1", 1024: "sd2"}
"""By the width of the text features that a UNet with SD 1.x's 6 + 1 + 9 transformers reads."""


def family_of(model: ModelPatcher) -> str:
    """The family of a MODEL.

    Raises:
        UnsupportedModelError: Its UNet is of another layout, such as SDXL's or Flux's.
    """
    find_taps(model.model.diffusion_model)
    if isinstance(model.model.model_config, MiniatureModel):
        return MINIATURE
    width = model.model.model_config.unet_config.get("context_dim")
    if width not in _FAMILIES:
        raise UnsupportedModelError(
            f"expected a MODEL of SD 1.x, whose text features are 768 wide, got one for {width}: "
            "load a checkpoint of SD 1.x"
        )
    return _FAMILIES[width]


class ComfyBackbone:
    """A `Backbone` of what a workflow has loaded; nothing is copied, and nothing patched."""

    stride = STRIDE

    def __init__(self, model: ModelPatcher, clip: CLIP, vae: VAE | None = None) -> None:
        """Join the parts.

        Args:
            model: Of a family that heads exist for.
            clip: Its text encoder. Layers that were set to be skipped are not: heads know none.
            vae: Its VAE; only pictures need one.

        Raises:
            UnsupportedModelError: The model is of no such family.
        """
        self.family = family_of(model)
        self._model = model
        self._clip = clip.clone()
        self._clip.clip_layer(None)
        self._vae = vae
        self._contexts: dict[str, Tensor] = {}

    def scaled(self, samples: Tensor) -> Tensor:
        """Latents ``(B, C, h, w)`` of a LATENT as the UNet takes them."""
        latents: Tensor = self._model.model.process_latent_in(samples.float())
        return latents

    @torch.inference_mode()
    def encode_image(self, image: Image) -> Tensor:
        """Clean latents ``(1, C, h, w)`` of an RGB picture with sides in multiples of 8."""
        if self._vae is None:
            raise InputError("expected a VAE for a picture, got none: connect the model's own")
        pixels = torch.from_numpy(np.asarray(image).copy())[None].float() / 255
        return self.scaled(self._vae.encode(pixels))

    @torch.inference_mode()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Text features ``(P, 77, D)``; brackets in a phrase are brackets, and no emphasis.

        Raises:
            InputError: A phrase has more than 77 tokens.
        """
        return torch.cat([self._encode(phrase) for phrase in phrases])

    @torch.inference_mode()
    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = BEST_TIMESTEP,
        generator: torch.Generator | None = None,
    ) -> Features:
        """Features of clean latents ``(1, C, h, w)`` under noise, a row for each phrase."""
        return probe(self._model, latents, self.encode_text(phrases), t, generator)

    def _encode(self, phrase: str) -> Tensor:
        if phrase not in self._contexts:
            tokens = self._clip.tokenize(_literal(phrase), return_word_ids=True)
            context = self._clip.encode_from_tokens(_without_word_ids(tokens))
            self._check_width(context)  # first: another family's tokens are counted otherwise
            check_token_count(phrase, _token_count(tokens))
            self._contexts[phrase] = context
        return self._contexts[phrase]

    def _check_width(self, context: Tensor) -> None:
        width = self._model.model.model_config.unet_config["context_dim"]
        if context.shape[-1] != width:
            raise InputError(
                f"expected a CLIP with text features of width {width}, as the MODEL reads them, "
                f"got {context.shape[-1]}: connect the CLIP of the same checkpoint"
            )


_Tokens: TypeAlias = dict[str, list[list[tuple[Any, ...]]]]
"""ComfyUI's tokens: by encoder, in chunks of 77; each is (token, weight, word)."""


def _literal(phrase: str) -> str:
    """A phrase without ComfyUI's notation for emphasis: its brackets are brackets."""
    return phrase.replace("(", "\\(").replace(")", "\\)")


def _token_count(tokens: _Tokens) -> int:
    """The phrase's tokens with start and end; these and the padding belong to no word."""
    words = [word for chunks in tokens.values() for chunk in chunks for _, _, word in chunk]
    return 2 + sum(1 for word in words if word > 0)


def _without_word_ids(tokens: _Tokens) -> _Tokens:
    return {
        name: [[token[:2] for token in chunk] for chunk in chunks]
        for name, chunks in tokens.items()
    }
