"""A host that has loaded the miniature: real networks and the built-in head, and no WebUI."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ldznet_core import Backbone, InputError, UnsupportedModelError
from ldznet_webui.passes import RowsOf

T = TypeVar("T")


class MiniatureHost:
    """Stands in for A1111 and Forge, see `ldznet_webui.host.Host`."""

    name = "A1111"

    def __init__(self, backbone: Any, heads: Path) -> None:
        """Have a model, or what is raised when it is asked for; and a folder of heads."""
        self.loaded: Any = backbone
        self.heads = heads
        self.turns = 0
        """How often somebody had the models for himself."""
        self._lock = threading.Lock()

    def model_name(self) -> str:
        return "" if self.loaded is None else "miniature-webui"

    def unet(self) -> nn.Module:
        unet: nn.Module = self.loaded.unet
        return unet

    def backbone(self) -> Backbone:
        """As the hosts' do, it may only be asked for by whom nothing else disturbs."""
        assert self._lock.locked()
        if self.loaded is None:
            raise InputError("expected a checkpoint, got none: choose one at the top")
        if self.loaded == "flux":
            raise UnsupportedModelError("expected a checkpoint of SD 1.x, got Flux: choose another")
        if isinstance(self.loaded, Exception):
            raise self.loaded
        backbone: Backbone = self.loaded
        return backbone

    def device(self) -> torch.device:
        return torch.device("cpu")

    def head_dtype(self) -> torch.dtype:
        return torch.float32

    def prompts_of(self, step: Any) -> RowsOf:
        return lambda passed: []

    def exclusively(self, work: Callable[[], T]) -> T:
        """As in A1111, whose lock a thread cannot take twice (modules/fifo_lock.py in 1.10.1)."""
        assert self._lock.acquire(timeout=10), "a thread waits for itself"
        try:
            self.turns += 1
            return work()
        finally:
            self._lock.release()

    def heads_folder(self) -> Path:
        return self.heads

    def is_interrupted(self) -> bool:
        return False
