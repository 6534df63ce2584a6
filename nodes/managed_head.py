"""A head under ComfyUI's memory management: on its device for the work, offloaded when need be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..ldznet_core import Features, HeadConfig, load_head
from ..ldznet_core.head import activation_bytes
from ..ldznet_core.taps import Taps


class ManagedHead:
    """What travels over an LDZNET_HEAD wire; to the segmenter it is a head like any other."""

    def __init__(self, source: str | Path) -> None:
        """Load a built-in head by its name, or one from a file.

        Raises:
            CheckpointError: The file is missing, damaged, or holds no head.
        """
        management = comfy.model_management
        device = management.get_torch_device()
        dtype = torch.float16 if management.should_use_fp16(device) else torch.float32
        head = load_head(source, dtype=dtype)
        self.config: HeadConfig = head.config
        self._bytes_per_value = torch.finfo(dtype).bits // 8
        self._patcher = ModelPatcher(head, device, management.unet_offload_device())

    def taps_of(self, unet: nn.Module) -> Taps:
        """Where in a UNet it wants to listen."""
        return self.config.taps_of(unet)

    def __call__(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits ``(P, 1, 8h, 8w)``, with the head on its device until others need the room."""
        size = (latents.shape[-2], latents.shape[-1])
        needed = activation_bytes(self.config, len(context), size, self._bytes_per_value)
        comfy.model_management.load_models_gpu(
            [self._patcher], memory_required=needed, force_full_load=True
        )
        logits: Tensor = self._patcher.model(latents, context, features)
        return logits

    def get_ram_usage(self) -> int:
        """Bytes of the weights, as ComfyUI's RAM-bounded cache asks for them."""
        size: int = self._patcher.model_size()
        return size
