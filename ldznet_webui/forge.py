"""Forge as a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from backend import memory_management
from modules import sd_models
from torch import Tensor, nn

from ldznet_core import Features, InputError, UnsupportedModelError, find_taps
from ldznet_core.capture import BEST_TIMESTEP
from ldznet_core.frames import STRIDE, pad_to_multiple
from ldznet_core.taps import TapsOf

from .family import family_of
from .forges import ForgeLike, probe
from .inputs import Contexts, count_tokens, pixels_of, token_rows

if TYPE_CHECKING:
    from PIL.Image import Image


class Forge(ForgeLike):
    """The host."""

    name = "Forge"

    def unet(self) -> nn.Module:
        """The UNet of the checkpoint that is loaded."""
        unet: nn.Module = _unet_of(_model())
        return unet

    def backbone(self) -> ForgeBackbone:
        """The checkpoint that is loaded as the segmenter's backbone; loaded first if need be."""
        return ForgeBackbone(_model())

    def device(self) -> torch.device:
        """Where networks compute."""
        device: torch.device = memory_management.get_torch_device()
        return device

    def head_dtype(self) -> torch.dtype:
        """What a head computes in there."""
        is_half = memory_management.should_use_fp16(self.device())
        return torch.float16 if is_half else torch.float32


class ForgeBackbone:
    """A `Backbone` of the host's own networks; nothing is copied, and nothing patched.

    Each is brought to its device by the host's own memory management before it works.
    """

    stride = STRIDE

    def __init__(self, model: Any) -> None:
        """Take a loaded checkpoint.

        Raises:
            UnsupportedModelError: It is of a family that no head exists for.
        """
        self.family = family_of(_unet_of(model))
        self._model = model
        self._contexts = Contexts(self._encode)

    @property
    def unet(self) -> nn.Module:
        """The UNet itself."""
        unet: nn.Module = _unet_of(self._model)
        return unet

    @torch.inference_mode()
    def encode_image(self, image: Image) -> Tensor:
        """Clean latents ``(1, C, h, w)`` of an RGB picture with sides in multiples of 8."""
        vae = self._model.forge_objects.vae
        memory_management.load_model_gpu(vae.patcher)
        pixels = pixels_of(image).to(vae.device, vae.vae_dtype)
        network = vae.first_stage_model
        mode = network.encode(pixels, lambda posterior: posterior.mode())
        latents: Tensor = network.process_in(mode.float())
        return latents

    @torch.inference_mode()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Text features ``(P, 77, D)``; brackets in a phrase are brackets, and no emphasis."""
        return self._contexts.of(phrases)

    def count_tokens(self, phrases: Sequence[str]) -> list[int]:
        """How many tokens each phrase has, the start and the end token included."""
        return count_tokens(self._model.text_processing_engine.tokenizer, phrases)

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
        context = self.encode_text(phrases)
        patcher = self._model.forge_objects.unet
        memory_management.load_model_gpu(patcher)
        device = patcher.current_device
        clean = pad_to_multiple(latents.to(device))
        model = patcher.model
        return probe(model, model.predictor, clean, context.to(device), t, generator, taps_of)

    def _encode(self, phrases: Sequence[str]) -> Tensor:
        memory_management.load_model_gpu(self._model.forge_objects.clip.patcher)
        engine = self._model.text_processing_engine
        tokens = token_rows(engine.tokenizer, phrases)
        chosen, engine.clip_skip = engine.clip_skip, 1  # heads know the last layer only
        try:
            context: Tensor = engine.encode_with_transformers(tokens)
        finally:
            engine.clip_skip = chosen
        return context.float()


def _model() -> Any:
    """The checkpoint that is loaded; the host loads it if it has not yet.

    Raises:
        InputError: There is none that could be loaded.
    """
    try:
        sd_models.forge_model_reload()
    except Exception as error:
        raise InputError(
            "expected a checkpoint, got none, for Forge could not load one: choose one at the top "
            f"({error!s:.300})"
        ) from error
    return sd_models.model_data.sd_model


def _unet_of(model: Any) -> Any:
    """The UNet of a checkpoint.

    Raises:
        UnsupportedModelError: It has something else, as Flux has.
    """
    network = model.forge_objects.unet.model.diffusion_model
    if not hasattr(model, "text_processing_engine"):
        raise UnsupportedModelError(
            f"expected a checkpoint of SD 1.x, got one with {type(network).__name__} and several "
            "text encoders, which cannot be read in the WebUI yet: choose another"
        )
    return network


HOST = Forge()
"""The one of this process."""
