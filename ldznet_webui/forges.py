"""What Forge and reForge have in common, which A1111 has not.

One thread owns the models, each is brought to its device by the host's own memory management before
it works, and UNets are called with sigmas in the place of timesteps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from modules_forge import main_thread
from torch import Tensor, nn

from ldznet_core import Features, capturing, find_taps
from ldznet_core.capture import BEST_TIMESTEP
from ldznet_core.families import SDXL
from ldznet_core.frames import STRIDE, pad_to_multiple
from ldznet_core.probe import probe_noise
from ldznet_core.taps import TapsOf

from .family import family_of
from .inpainting import seen_besides
from .inputs import Contexts, count_tokens, token_rows
from .passes import RowsOf, rows_by_kind
from .webui import WebUI, seen_as_a_whole

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")


class ForgeLike(WebUI):
    """The part of a `Host` that is the same in both."""

    memory: Any
    """The host's module that knows its devices, and brings models there."""

    def device(self) -> torch.device:
        """Where networks compute."""
        device: torch.device = self.memory.get_torch_device()
        return device

    def head_dtype(self) -> torch.dtype:
        """What a head computes in there."""
        is_half = self.memory.should_use_fp16(self.device())
        return torch.float16 if is_half else torch.float32

    def prompts_of(self, step: Any) -> RowsOf:
        """What tells which row of a pass is each picture's prompt."""
        return partial(rows_by_kind, pictures=len(step.x))

    def exclusively(self, work: Callable[[], T]) -> T:
        """Do work while nothing is generated, on the thread that owns the models."""
        outcome: list[T] = []
        failure: list[BaseException] = []

        def attempt() -> None:  # the host's thread prints what is raised, and returns None
            try:
                outcome.append(work())
            except BaseException as error:
                failure.append(error)

        super().exclusively(lambda: main_thread.run_and_wait_result(attempt))
        if failure:
            raise failure[0]
        return outcome[0]


class ForgeLikeBackbone(ABC):
    """A `Backbone` of the host's own networks; nothing is copied, and nothing stays changed."""

    stride = STRIDE

    def __init__(self, model: Any, memory: Any) -> None:
        """Take a loaded checkpoint.

        Args:
            model: As the host has it.
            memory: The host's module that brings models to their devices.

        Raises:
            UnsupportedModelError: It is of a family that is not known.
        """
        self._model = model
        self._memory = memory
        self._contexts = Contexts(self._encode)
        self.family = family_of(self.unet)

    @property
    def unet(self) -> nn.Module:
        """The UNet itself."""
        unet: nn.Module = self._model.forge_objects.unet.model.diffusion_model
        return unet

    @abstractmethod
    def encode_image(self, image: Image) -> Tensor:
        """Clean latents ``(1, C, h, w)`` of an RGB picture with sides in multiples of 8."""

    @torch.inference_mode()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Text features ``(P, 77, D)``; brackets in a phrase are brackets, and no emphasis."""
        return self._contexts.of(phrases)

    def count_tokens(self, phrases: Sequence[str]) -> list[int]:
        """How many tokens each phrase has, the start and the end token included."""
        return count_tokens(self._encoders(), phrases)

    @torch.inference_mode()
    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = BEST_TIMESTEP,
        generator: torch.Generator | None = None,
        taps_of: TapsOf = find_taps,
    ) -> Features:
        """Features of clean latents ``(1, C, h, w)`` under noise, a row for each phrase."""
        patcher = self._model.forge_objects.unet
        device = patcher.load_device
        clean = pad_to_multiple(latents.to(device))
        context = self.encode_text(phrases).to(device)
        count = len(context)
        whole = None
        if self.family == SDXL:
            whole = seen_as_a_whole(self._model, clean, count).to(device)
        self._memory.load_model_gpu(patcher)
        model, unet = patcher.model, self.unet
        schedule = self._schedule(model)
        sigma = schedule.sigma(torch.tensor([t], device=device)).to(clean)
        noisy = schedule.noise_scaling(sigma, probe_noise(clean, generator), clean)
        with (
            self._without_shortcuts(),
            capturing(unet, taps_of(unet), stop_after_last=True) as capture,
        ):
            model.apply_model(
                noisy.expand(count, -1, -1, -1),
                sigma.expand(count),
                c_concat=seen_besides(unet, clean, count),
                c_crossattn=context,
                transformer_options={},
                y=whole,
            )
        return capture.features(t, "probe")

    def _encode(self, phrases: Sequence[str]) -> Tensor:
        self._memory.load_model_gpu(self._model.forge_objects.clip.patcher)
        contexts = [
            self._context(encoder, token_rows(encoder, phrases)).float()
            for encoder in self._encoders()
        ]
        return torch.cat(contexts, dim=-1)

    @abstractmethod
    def _encoders(self) -> Sequence[Any]:
        """The host's text encoders: one, or the two of SDXL."""

    @abstractmethod
    def _context(self, encoder: Any, tokens: Tensor) -> Tensor:
        """``(P, 77, D)``: the layer of its family, whatever the host is set to skip."""

    @abstractmethod
    def _schedule(self, model: Any) -> Any:
        """What tells the sigma of a timestep, and mixes noise and latents."""

    @abstractmethod
    def _without_shortcuts(self) -> AbstractContextManager[None]:
        """With nothing in the networks of what the last generation has left there."""
