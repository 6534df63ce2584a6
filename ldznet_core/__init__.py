"""LD-ZNet's core: named masks from the features of a latent diffusion model, under any host.

Importing it takes torch, numpy, einops and safetensors; what needs more is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .backbone import Backbone
from .backends import load_backbone, load_pair
from .capture import Features, capturing
from .checkpoint import load_head, read_config, save_head
from .conversion import convert_checkpoint
from .errors import (
    CaptureError,
    CheckpointError,
    InputError,
    LDZNetError,
    UnsupportedModelError,
)
from .head import HeadConfig, LDZNetHead
from .procedure import Procedure
from .segmentation import Segmentation
from .segmenter import Segmenter
from .taps import find_taps

if TYPE_CHECKING:
    from .miniature import load_miniature

__all__ = [
    "Backbone",
    "CaptureError",
    "CheckpointError",
    "Features",
    "HeadConfig",
    "InputError",
    "LDZNetError",
    "LDZNetHead",
    "Procedure",
    "Segmentation",
    "Segmenter",
    "UnsupportedModelError",
    "capturing",
    "convert_checkpoint",
    "find_taps",
    "load_backbone",
    "load_head",
    "load_miniature",
    "load_pair",
    "read_config",
    "save_head",
]

_ON_FIRST_USE = {"load_miniature": ".miniature"}  # these import diffusers and transformers


def __getattr__(name: str) -> object:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_ON_FIRST_USE[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
