"""A head under ComfyUI's memory management: on its device for the work, offloaded when need be."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..ldznet_core import Features, HeadConfig, load_head
from ..ldznet_core.head import HALF_IS_NOT_ENOUGH, activation_bytes
from ..ldznet_core.taps import Taps


class ManagedHead:
    """What travels over an LDZNET_HEAD wire; to the segmenter it is a head like any other."""

    def __init__(self, source: str | Path) -> None:
        """Load a built-in head by its name, or one from a file.

        Raises:
            CheckpointError: The file is missing, damaged, or holds no head.
        """
        management = comfy.model_management
        is_half = management.should_use_fp16(management.get_torch_device())
        self._source = source
        self._dtype = torch.float16 if is_half else torch.float32
        self._patcher = _managed(source, self._dtype)
        self.config: HeadConfig = self._patcher.model.config

    def taps_of(self, unet: nn.Module) -> Taps:
        """Where in a UNet it wants to listen."""
        return self.config.taps_of(unet)

    def __call__(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits ``(P, 1, 8h, 8w)``, with the head on its device until others need the room.

        Where half precision is not enough, which the logits tell, the head goes over to float32.
        """
        asked = (latents, context, features)
        logits = self._run(self._patcher, self._dtype, *asked)
        if self._dtype == torch.float32 or bool(logits.isfinite().all()):
            return logits
        whole = _managed(self._source, torch.float32)
        again = self._run(whole, torch.float32, *asked)
        if bool(again.isfinite().all()):  # else it is what was read, and not the head
            self._patcher, self._dtype = whole, torch.float32
            logging.getLogger(__name__).warning(HALF_IS_NOT_ENOUGH)
        return again

    def _run(
        self,
        patcher: ModelPatcher,
        dtype: torch.dtype,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None,
    ) -> Tensor:
        size = (latents.shape[-2], latents.shape[-1])
        needed = activation_bytes(self.config, len(context), size, dtype.itemsize)
        comfy.model_management.load_models_gpu(
            [patcher], memory_required=needed, force_full_load=True
        )
        logits: Tensor = patcher.model(latents, context, features)
        return logits

    def get_ram_usage(self) -> int:
        """Bytes of the weights, as ComfyUI's RAM-bounded cache asks for them."""
        size: int = self._patcher.model_size()
        return size


def _managed(source: str | Path, dtype: torch.dtype) -> ModelPatcher:
    """A head that ComfyUI moves about."""
    management = comfy.model_management
    head = load_head(source, dtype=dtype)
    return ModelPatcher(head, management.get_torch_device(), management.unet_offload_device())
