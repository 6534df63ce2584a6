"""What LD-ZNet asks of a WebUI, and which one it is running in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from ldznet_core import Backbone

from .passes import RowsOf

T = TypeVar("T")


class Host(Protocol):
    """A1111, Forge or reForge. Loading and computing happen on the thread that calls.

    Whoever is called by the host itself while it generates may call anything but `exclusively`;
    whoever comes from a button or a route goes through that first.
    """

    name: str
    """What users call it."""

    def model_name(self) -> str:
        """The checkpoint's name, as infotexts have it; empty if none is loaded."""

    def unet(self) -> nn.Module:
        """The UNet of the checkpoint that is loaded.

        Raises:
            InputError: None is, and none could be.
            UnsupportedModelError: It has no UNet that can be listened to.
        """

    def backbone(self) -> Backbone:
        """The checkpoint that is loaded as the segmenter's backbone; loaded first if need be.

        Raises:
            InputError: None could be loaded.
            UnsupportedModelError: It is of a family that no head exists for.
        """

    def device(self) -> torch.device:
        """Where networks compute."""

    def head_dtype(self) -> torch.dtype:
        """What a head computes in there."""

    def prompts_of(self, step: Any) -> RowsOf:
        """What tells which row of a pass is each picture's prompt, for the passes of a step.

        Args:
            step: What the last `on_cfg_denoiser` of this generation was told; it leads to all that
                the generation holds, so what is returned keeps nothing of it.
        """

    def exclusively(self, work: Callable[[], T]) -> T:
        """Do work while nothing is generated, on the thread that the host wants it on.

        What works there finds the checkpoint that the page shows, whatever the last run has left.

        Raises:
            CheckpointError: That checkpoint cannot be loaded.
        """

    def heads_folder(self) -> Path:
        """Where users put heads; it may not be there."""

    def is_interrupted(self) -> bool:
        """Whether what is running was cut short by the user, and not only what would follow it."""


@cache
def find_host() -> Host:
    """The host in whose process this is.

    reForge has Forge's folder `modules_forge`, but computes with `ldm_patched`, not `backend`.
    """
    is_forge_like = find_spec("modules_forge") is not None
    is_forge = is_forge_like and find_spec("backend") is not None
    name = "forge" if is_forge else "reforge" if is_forge_like else "a1111"
    module = import_module(f".{name}", __package__)
    host: Host = module.HOST
    return host
