"""ComfyUI's MODEL, CLIP and VAE as the segmenter's backbone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from comfy.model_management import load_models_gpu
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from torch import Tensor, nn

from ..ldznet_core import Features, InputError, UnsupportedModelError, find_taps
from ..ldznet_core.capture import BEST_TIMESTEP
from ..ldznet_core.families import SDXL, check_text_alone, known_family
from ..ldznet_core.frames import STRIDE
from ..ldznet_core.phrases import check_token_count
from ..ldznet_core.taps import SD_LAYOUT, SDXL_LAYOUT, TapsOf, find_transformers
from .levels import check_levels
from .probing import probe

if TYPE_CHECKING:
    from PIL.Image import Image


def family_of(model: ModelPatcher) -> str:
    """The family of a MODEL.

    Raises:
        UnsupportedModelError: Its UNet is of another layout, such as SD3's or Flux's, or is told
            more than text.
    """
    unet, config = model.model.diffusion_model, model.model.model_config.unet_config
    transformers = find_transformers(unet, (SD_LAYOUT, SDXL_LAYOUT))
    width = config.get("context_dim")
    family = known_family(len(transformers), width)
    if family is None:
        raise UnsupportedModelError(
            "expected a MODEL of SD 1.x, SD 2.x or SDXL, whose text features are 768, 1024 or 2048 "
            f"wide, got one for {width}: load a checkpoint of SD 1.x"
        )
    check_text_alone(unet, family)
    channels = config.get("in_channels", 4)
    if channels not in (4, 9):
        raise UnsupportedModelError(
            f"expected a MODEL that reads 4 channels, or 9 for inpainting, got one of {channels}, "
            "such as those that edit by instructions or enlarge: load another checkpoint"
        )
    return family


def has_taps(family: str) -> bool:
    """Whether its UNets have what trained heads read."""
    return family != SDXL


def check_trained(family: str) -> None:
    """Make sure that there may be trained heads for a family.

    Raises:
        UnsupportedModelError: Its UNets have none of what these read.
    """
    if not has_taps(family):
        raise UnsupportedModelError(
            "expected a MODEL of SD 1.x for a trained head, got one of SDXL: choose the head "
            "auto or training-free, and connect it to LD-ZNet Capture"
        )


class ComfyBackbone:
    """A `Backbone` of what a workflow has loaded; nothing is copied, and nothing patched."""

    stride = STRIDE

    def __init__(self, model: ModelPatcher, clip: CLIP, vae: VAE | None = None) -> None:
        """Join the parts.

        Args:
            model: Of SD 1.x, SD 2.x or SDXL, or the miniature.
            clip: Its text encoder. Layers that were set to be skipped are not: heads know none.
            vae: Its VAE; only what is seen of pictures needs one.

        Raises:
            UnsupportedModelError: The model is of another family, or samples as none of them does.
        """
        self.family = family_of(model)
        check_levels(model)
        self._model = model
        self._clip = clip.clone()
        self._clip.clip_layer(None)
        self._vae = vae
        self._texts: dict[str, _Text] = {}

    def scaled(self, samples: Tensor) -> Tensor:
        """Latents ``(B, C, h, w)`` of a LATENT as the UNet takes them."""
        latents: Tensor = self._model.get_model_object("latent_format").process_in(samples.float())
        return latents

    @torch.inference_mode()
    def seen(self, samples: Tensor) -> Tensor:
        """Clean latents ``(1, C, h, w)`` of the picture that a LATENT is decoded to."""
        vae = self._connected_vae()
        return self.scaled(vae.encode(vae.decode(samples)))

    @torch.inference_mode()
    def encode_image(self, image: Image) -> Tensor:
        """Clean latents ``(1, C, h, w)`` of an RGB picture with sides in multiples of 8."""
        pixels = torch.from_numpy(np.asarray(image).copy())[None].float() / 255
        return self.scaled(self._connected_vae().encode(pixels))

    @torch.inference_mode()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Text features ``(P, 77, D)``; brackets in a phrase are brackets, and no emphasis.

        Raises:
            InputError: A phrase has more than 77 tokens, or one that ComfyUI would leave out.
        """
        return torch.cat([self._encode(phrase).context for phrase in phrases])

    @torch.inference_mode()
    def count_tokens(self, phrases: Sequence[str]) -> list[int]:
        """How many tokens each phrase has, the start and the end token included."""
        return [self._encode(phrase).tokens for phrase in phrases]

    @property
    def unet(self) -> nn.Module:
        """The UNet, with the MODEL's own patches in its weights and not another's."""
        load_models_gpu([self._model])
        unet: nn.Module = self._model.model.diffusion_model
        return unet

    @torch.inference_mode()
    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = BEST_TIMESTEP,
        generator: torch.Generator | None = None,
        taps_of: TapsOf = find_taps,
    ) -> Features:
        """Features of clean latents ``(1, C, h, w)`` under noise, a row for each phrase."""
        texts = [self._encode(phrase) for phrase in phrases]
        context = torch.cat([text.context for text in texts])
        pooled = [text.pooled for text in texts if text.pooled is not None]
        return probe(
            self._model,
            latents,
            context,
            t,
            generator,
            taps_of=taps_of,
            pooled=torch.cat(pooled) if pooled else None,
        )

    def _connected_vae(self) -> VAE:
        if self._vae is None:
            raise InputError("expected a VAE for a picture, got none: connect the model's own")
        return self._vae

    def _encode(self, phrase: str) -> _Text:
        if phrase not in self._texts:
            tokens = self._clip.tokenize(_literal(phrase), return_word_ids=True)
            plain, pooled = _without_word_ids(tokens), None
            if self.family == SDXL:
                context, pooled = self._clip.encode_from_tokens(plain, return_pooled=True)
            else:
                context = self._clip.encode_from_tokens(plain)
            self._check_width(context)  # first: another family's tokens are counted otherwise
            count = _token_count(tokens)
            check_token_count(phrase, count)
            self._check_read(phrase, count)
            self._texts[phrase] = _Text(context, pooled, count)
        return self._texts[phrase]

    def _check_read(self, phrase: str, count: int) -> None:
        """Refuse what would be left out without a word: embeddings that are not there."""
        counts = {phrase: count}
        for name in (found.strip(",") for found in _EMBEDDING.findall(phrase)):
            if name not in counts:
                tokens = self._clip.tokenize(_literal(name), return_word_ids=True)
                counts[name] = _token_count(tokens)
        for part, tokens_of_part in counts.items():
            if part.strip() and tokens_of_part == _OF_NOTHING:
                raise InputError(
                    f"expected a phrase of words that the CLIP can read, got {part!r}, of which "
                    "nothing is left: check the embedding's name, or write words"
                )

    def _check_width(self, context: Tensor) -> None:
        width = self._model.model.model_config.unet_config["context_dim"]
        if context.shape[-1] != width:
            raise InputError(
                f"expected a CLIP with text features of width {width}, as the MODEL reads them, "
                f"got {context.shape[-1]}: connect the CLIP of the same checkpoint"
            )


class _Text(NamedTuple):
    """A phrase as the UNet is told of it."""

    context: Tensor
    """``(1, 77, D)``."""
    pooled: Tensor | None
    """``(1, D)``, of the phrase as a whole; SDXL's alone."""
    tokens: int
    """How many it has, the start and the end token included."""


_OF_NOTHING = 2
"""The tokens of a phrase without words: start and end."""

_EMBEDDING = re.compile(r"(?:^|\s)(embedding:\S+)")
"""What ComfyUI takes for the name of an embedding (comfy/sd1_clip.py, tokenize_with_weights)."""

_Tokens: TypeAlias = dict[str, list[list[tuple[Any, ...]]]]
"""ComfyUI's tokens: by encoder, in chunks of 77; each is (token, weight, word)."""


def _literal(phrase: str) -> str:
    """A phrase without ComfyUI's notation for emphasis: its brackets are brackets."""
    return phrase.replace("(", "\\(").replace(")", "\\)")


def _token_count(tokens: _Tokens) -> int:
    """The phrase's tokens with start and end; these and the padding belong to no word.

    SDXL's two encoders share a vocabulary, so that either of them counts the same.
    """
    return _OF_NOTHING + max(
        sum(1 for chunk in chunks for _, _, word in chunk if word > 0) for chunks in tokens.values()
    )


def _without_word_ids(tokens: _Tokens) -> _Tokens:
    return {
        name: [[token[:2] for token in chunk] for chunk in chunks]
        for name, chunks in tokens.items()
    }
