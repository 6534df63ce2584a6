"""Forge as a host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from backend import memory_management
from modules import sd_models
from torch import Tensor, nn

from ldznet_core import InputError, UnsupportedModelError

from .forges import ForgeLike, ForgeLikeBackbone
from .inputs import pixels_of

if TYPE_CHECKING:
    from PIL.Image import Image


class Forge(ForgeLike):
    """The host."""

    name = "Forge"
    memory = memory_management

    def unet(self) -> nn.Module:
        """The UNet that is loaded now.

        While that is a refiner or a checkpoint for hires fix, Forge means to load the first again
        for the next picture (modules/processing.py:1416), so it is not asked to do so here.
        """
        unet: nn.Module = sd_models.model_data.sd_model.forge_objects.unet.model.diffusion_model
        return unet

    def backbone(self) -> ForgeBackbone:
        """The checkpoint that is loaded as the segmenter's backbone; loaded first if need be."""
        return ForgeBackbone(_model(), memory_management)


class ForgeBackbone(ForgeLikeBackbone):
    """A `Backbone` of Forge's own networks."""

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

    def _encoders(self) -> Sequence[Any]:
        if self._model.is_sdxl:
            return self._model.text_processing_engine_l, self._model.text_processing_engine_g
        return (self._model.text_processing_engine,)

    def _context(self, encoder: Any, tokens: Tensor) -> Tensor:
        chosen, encoder.clip_skip = encoder.clip_skip, encoder.minimal_clip_skip
        try:
            context: Tensor = encoder.encode_with_transformers(tokens)
        finally:
            encoder.clip_skip = chosen
        return context

    def _schedule(self, model: Any) -> Any:
        return model.predictor

    def _without_shortcuts(self) -> AbstractContextManager[None]:
        return nullcontext()  # Forge takes them back itself


def _model() -> Any:
    """The checkpoint that is loaded; the host loads it if it has not yet.

    Raises:
        InputError: There is none that could be loaded.
        UnsupportedModelError: It is of another kind, as Flux is.
    """
    try:
        sd_models.forge_model_reload()
    except Exception as error:
        raise InputError(
            "expected a checkpoint, got none, because Forge could not load one: choose one at the "
            f"top ({error!s:.300})"
        ) from error
    model = sd_models.model_data.sd_model
    if not (model.is_sd1 or model.is_sd2 or model.is_sdxl):
        network = model.forge_objects.unet.model.diffusion_model
        raise UnsupportedModelError(
            f"expected a checkpoint of SD 1.x, SD 2.x or SDXL, got one with "
            f"{type(network).__name__}, which cannot be read yet: choose another"
        )
    return model


HOST = Forge()
"""The one of this process."""
