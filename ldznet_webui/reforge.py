"""reForge as a host.

Facts are of Panchovix/stable-diffusion-webui-reForge@3b56b268, whose networks are ComfyUI's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from ldm_patched.modules import model_management
from modules import shared
from modules_forge import forge_util
from modules_forge.forge_clip import CLIP_SD_15_L, CLIP_SD_21_H
from torch import Tensor, nn

from ldznet_core import InputError

from .forges import ForgeLike, ForgeLikeBackbone
from .inputs import pixels_of
from .webui import as_shown

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")


class ReForge(ForgeLike):
    """The host."""

    name = "reForge"
    memory = model_management

    def exclusively(self, work: Callable[[], T]) -> T:
        """Do work while nothing is generated, with the checkpoint that the page shows."""
        return super().exclusively(partial(as_shown, work))

    def unet(self) -> nn.Module:
        """The UNet of the checkpoint that is loaded."""
        unet: nn.Module = _model().forge_objects.unet.model.diffusion_model
        return unet

    def backbone(self) -> ReForgeBackbone:
        """The checkpoint that is loaded as the segmenter's backbone; loaded first if need be."""
        return ReForgeBackbone(_model(), model_management)


class ReForgeBackbone(ForgeLikeBackbone):
    """A `Backbone` of reForge's own networks."""

    @torch.inference_mode()
    def encode_image(self, image: Image) -> Tensor:
        """Clean latents ``(1, C, h, w)`` of an RGB picture with sides in multiples of 8.

        The host's own call gives the posterior's mode
        (ldm_patched/ldm/models/autoencoder.py:14), scaled (modules_forge/forge_loader.py:541).
        """
        with self._without_shortcuts():
            latents: Tensor = self._model.encode_first_stage(pixels_of(image))
        return latents.float()

    def _encoders(self) -> Sequence[Any]:
        whole = self._model.cond_stage_model
        parts = whole.embedders if self._model.is_sdxl else (whole,)
        return [part for part in parts if hasattr(part, "encode_with_transformers")]

    def _context(self, encoder: Any, tokens: Tensor) -> Tensor:
        """The layer of the family, as the host has it at first (modules_forge/forge_clip.py)."""
        network = encoder.wrapped
        device = self._model.forge_objects.clip.patcher.load_device
        text_model = network.transformer.text_model
        text_model.embeddings.to(device)
        outputs = network.transformer(input_ids=tokens.to(device), output_hidden_states=True)
        if isinstance(encoder, CLIP_SD_15_L):
            context: Tensor = outputs.last_hidden_state
        else:
            context = outputs.hidden_states[network.layer_idx]
        if isinstance(encoder, CLIP_SD_21_H):
            context = text_model.final_layer_norm(context)
        return context

    def _schedule(self, model: Any) -> Any:
        return model.model_sampling

    @contextmanager
    def _without_shortcuts(self) -> Iterator[None]:
        """With edges that are not joined for tiling.

        The host leaves them joined until the next generation (modules/processing.py:970). Tokens
        that it merges to save time are merged by options of a pass that it makes
        (modules/sd_models.py:1373), so not in a probe.
        """
        are_joined = self._model.tiling_enabled
        forge_util.apply_circular_forge(self._model, False)
        try:
            yield
        finally:
            forge_util.apply_circular_forge(self._model, are_joined)


def _model() -> Any:
    """The checkpoint that is loaded; the host loads it if it has not yet.

    Raises:
        InputError: There is none that could be loaded.
    """
    model = shared.sd_model
    if model is None:
        raise InputError(
            "expected a checkpoint, got none, because reForge could not load one: choose one at "
            "the top"
        )
    return model


HOST = ReForge()
"""The one of this process."""
