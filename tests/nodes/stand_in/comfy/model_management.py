"""Imitates comfy/model_management.py of ComfyUI 0.8.0 on a CPU: devices, room, interruption."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from .model_patcher import ModelPatcher

free_memory = float("inf")
"""What `get_free_memory` tells; for tests to set."""


class Load(NamedTuple):
    """One call of `load_models_gpu`."""

    models: tuple[nn.Module, ...]
    memory_required: float
    force_full_load: bool


loads: list[Load] = []
"""Every call of `load_models_gpu`; for tests to read."""


class InterruptProcessingException(Exception):  # noqa: N818 (the host's own name)
    """The user wants the workflow to stop."""


def get_torch_device() -> torch.device:
    return torch.device("cpu")


def unet_offload_device() -> torch.device:
    return torch.device("cpu")


def text_encoder_device() -> torch.device:
    return torch.device("cpu")


def vae_device() -> torch.device:
    return torch.device("cpu")


def unet_dtype(device: torch.device | None = None, model_params: int = 0) -> torch.dtype:
    return torch.float32


def unet_manual_cast(
    weight_dtype: torch.dtype, inference_device: torch.device
) -> torch.dtype | None:
    return None


def should_use_fp16(device: torch.device | None = None) -> bool:
    return False


def get_free_memory(device: torch.device | None = None) -> float:
    return free_memory


def load_models_gpu(
    models: Sequence[ModelPatcher],
    memory_required: float = 0,
    force_full_load: bool = False,
) -> None:
    """Put models on their devices, making room for what they need besides."""
    for model in models:
        model.model.to(model.load_device)
        model.model.device = model.load_device
    networks = tuple(model.model for model in models)
    loads.append(Load(networks, memory_required, force_full_load))


_interrupted = threading.Event()


def interrupt_current_processing(value: bool = True) -> None:
    if value:
        _interrupted.set()
    else:
        _interrupted.clear()


def throw_exception_if_processing_interrupted() -> None:
    """Raise once for an interruption."""
    if _interrupted.is_set():
        _interrupted.clear()
        raise InterruptProcessingException
