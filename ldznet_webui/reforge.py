"""reForge as a host.

Facts are of Panchovix/stable-diffusion-webui-reForge@3b56b268, whose networks are ComfyUI's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from ldm_patched.modules import model_management
from modules import shared
from modules_forge import forge_util
from torch import Tensor, nn

from ldznet_core import Features, InputError, find_taps
from ldznet_core.capture import BEST_TIMESTEP
from ldznet_core.frames import STRIDE, pad_to_multiple
from ldznet_core.taps import TapsOf

from .family import family_of
from .forges import ForgeLike, probe
from .inputs import Contexts, count_tokens, pixels_of, token_rows

if TYPE_CHECKING:
    from PIL.Image import Image


class ReForge(ForgeLike):
    """The host."""

    name = "reForge"

    def unet(self) -> nn.Module:
        """The UNet of the checkpoint that is loaded."""
        unet: nn.Module = _model().forge_objects.unet.model.diffusion_model
        return unet

    def backbone(self) -> ReForgeBackbone:
        """The checkpoint that is loaded as the segmenter's backbone; loaded first if need be."""
        return ReForgeBackbone(_model())

    def device(self) -> torch.device:
        """Where networks compute."""
        device: torch.device = model_management.get_torch_device()
        return device

    def head_dtype(self) -> torch.dtype:
        """What a head computes in there."""
        is_half = model_management.should_use_fp16(self.device())
        return torch.float16 if is_half else torch.float32


class ReForgeBackbone:
    """A `Backbone` of the host's own networks; nothing is copied, and nothing stays changed.

    Each is brought to its device by the host's own memory management before it works.
    """

    stride = STRIDE

    def __init__(self, model: Any) -> None:
        """Take a loaded checkpoint.

        Raises:
            UnsupportedModelError: It is of a family that no head exists for.
        """
        self.family = family_of(model.forge_objects.unet.model.diffusion_model)
        self._model = model
        self._contexts = Contexts(self._encode)

    @property
    def unet(self) -> nn.Module:
        """The UNet itself."""
        unet: nn.Module = self._model.forge_objects.unet.model.diffusion_model
        return unet

    @torch.inference_mode()
    def encode_image(self, image: Image) -> Tensor:
        """Clean latents ``(1, C, h, w)`` of an RGB picture with sides in multiples of 8.

        The host's own call gives the posterior's mode
        (ldm_patched/ldm/models/autoencoder.py:14), scaled (modules_forge/forge_loader.py:541).
        """
        with self._with_edges():
            latents: Tensor = self._model.encode_first_stage(pixels_of(image))
        return latents.float()

    @torch.inference_mode()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Text features ``(P, 77, D)``; brackets in a phrase are brackets, and no emphasis."""
        return self._contexts.of(phrases)

    def count_tokens(self, phrases: Sequence[str]) -> list[int]:
        """How many tokens each phrase has, the start and the end token included."""
        return count_tokens(self._model.cond_stage_model.wrapped.tokenizer, phrases)

    @torch.inference_mode()
    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = BEST_TIMESTEP,
        generator: torch.Generator | None = None,
        taps_of: TapsOf = find_taps,
    ) -> Features:
        """Features of clean latents ``(1, C, h, w)`` under noise, a row for each phrase.

        Tokens that the host merges to save time are merged by options of a pass that it makes
        (modules/sd_models.py:1373), so not in this one.
        """
        context = self.encode_text(phrases)
        patcher = self._model.forge_objects.unet
        model_management.load_model_gpu(patcher)
        device = patcher.load_device
        clean = pad_to_multiple(latents.to(device))
        model = patcher.model
        with self._with_edges():
            schedule, context = model.model_sampling, context.to(device)
            return probe(model, schedule, clean, context, t, generator, taps_of)

    def _encode(self, phrases: Sequence[str]) -> Tensor:
        """The last layer, whatever the host is set to skip (modules_forge/forge_clip.py:21)."""
        patcher = self._model.forge_objects.clip.patcher
        model_management.load_model_gpu(patcher)
        wrapped = self._model.cond_stage_model.wrapped
        wrapped.transformer.text_model.embeddings.to(patcher.load_device)
        tokens = token_rows(wrapped.tokenizer, phrases).to(patcher.load_device)
        context: Tensor = wrapped.transformer(input_ids=tokens).last_hidden_state
        return context.float()

    @contextmanager
    def _with_edges(self) -> Iterator[None]:
        """With edges that are not joined for tiling.

        The host leaves them joined until the next generation (modules/processing.py:970).
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
            "expected a checkpoint, got none, for reForge could not load one: choose one at the top"
        )
    return model


HOST = ReForge()
"""The one of this process."""
