"""Imitates comfy/model_patcher.py of ComfyUI 0.8.0: a MODEL, whose clones share its network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch

from .patcher_extension import Wrapper, Wrappers


class ModelPatcher:
    """A network, and what is to be done to it while it runs."""

    def __init__(
        self, model: Any, load_device: torch.device, offload_device: torch.device, size: int = 0
    ) -> None:
        """Surround a network, which is told its device: a read-only ``device`` would fail here."""
        self.model = model
        if getattr(model, "device", None) is None:
            self.model.device = offload_device
        self.load_device, self.offload_device = load_device, offload_device
        self.size = size
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.wrappers: Wrappers = {}
        self.object_patches: dict[str, Any] = {}

    def clone(self) -> ModelPatcher:
        """A MODEL of the same network: options are copied deeply, wrappers stay the objects."""
        clone = type(self)(self.model, self.load_device, self.offload_device, self.model_size())
        clone.model_options = copy.deepcopy(self.model_options)
        clone.object_patches = dict(self.object_patches)
        clone.wrappers = {
            place: {key: list(wrappers) for key, wrappers in by_key.items()}
            for place, by_key in self.wrappers.items()
        }
        return clone

    def add_wrapper_with_key(self, wrapper_type: str, key: str, wrapper: Wrapper) -> None:
        self.wrappers.setdefault(wrapper_type, {}).setdefault(key, []).append(wrapper)

    def remove_wrappers_with_key(self, wrapper_type: str, key: str) -> None:
        self.wrappers.get(wrapper_type, {}).pop(key, None)

    def get_wrappers(self, wrapper_type: str, key: str) -> list[Wrapper]:
        return self.wrappers.get(wrapper_type, {}).get(key, [])

    def set_model_sampler_post_cfg_function(
        self, post_cfg_function: Callable[[dict[str, Any]], torch.Tensor]
    ) -> None:
        functions = self.model_options.setdefault("sampler_post_cfg_function", [])
        self.model_options["sampler_post_cfg_function"] = [*functions, post_cfg_function]

    def get_model_object(self, name: str) -> Any:
        return self.object_patches.get(name) or attrgetter(name)(self.model)

    def add_object_patch(self, name: str, obj: Any) -> None:
        self.object_patches[name] = obj

    @contextmanager
    def patched(self) -> Iterator[None]:
        """The network with its parts replaced; the host does it while a model is loaded."""
        before = {name: getattr(self.model, name) for name in self.object_patches}
        for name, part in self.object_patches.items():
            setattr(self.model, name, part)
        try:
            yield
        finally:
            for name, part in before.items():
                setattr(self.model, name, part)

    def model_size(self) -> int:
        """Bytes of the weights."""
        if not self.size:
            self.size = sum(each.nbytes for each in self.model.state_dict().values())
        return self.size
