"""Imitates comfy/supported_models_base.py of ComfyUI 0.8.0: what is known of a kind of model."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from . import latent_formats
from .model_base import BaseModel


class ClipTarget:
    """The classes that a CLIP is made of."""

    def __init__(self, tokenizer: type[Any], clip: type[Any]) -> None:
        self.tokenizer, self.clip = tokenizer, clip
        self.params: dict[str, Any] = {}


class BASE:
    """A kind of model; its latent format is a class until an instance is made."""

    unet_config: dict[str, Any] = {}  # noqa: RUF012 (the host's own way)
    unet_extra_config: dict[str, Any] = {"num_heads": -1, "num_head_channels": 64}  # noqa: RUF012
    latent_format: Any = latent_formats.LatentFormat
    memory_usage_factor = 2.0
    manual_cast_dtype: torch.dtype | None = None

    def __init__(self, unet_config: dict[str, Any]) -> None:
        self.unet_config = {**unet_config, **self.unet_extra_config}
        self.latent_format = self.latent_format()

    def set_inference_dtype(
        self, dtype: torch.dtype, manual_cast_dtype: torch.dtype | None
    ) -> None:
        self.unet_config["dtype"] = dtype
        self.manual_cast_dtype = manual_cast_dtype

    def get_model(
        self, state_dict: dict[str, Tensor], prefix: str = "", device: torch.device | None = None
    ) -> BaseModel:
        return BaseModel(self, device=device)

    def __getattr__(self, name: str) -> None:
        """Like the host's: what does not exist is None, with a warning."""
        logging.warning("accessed %s of a model config, which does not exist", name)
