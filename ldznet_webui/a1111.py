"""A1111 1.10 as a host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from modules import devices, sd_hijack, sd_models, shared
from modules.sd_hijack_clip import (
    FrozenCLIPEmbedderForSDXLWithCustomWords,
    FrozenCLIPEmbedderWithCustomWords,
    TextConditionalModel,
)
from torch import Tensor, nn

from ldznet_core import Features, InputError, capturing, find_taps
from ldznet_core.capture import BEST_TIMESTEP
from ldznet_core.families import SDXL
from ldznet_core.frames import STRIDE, pad_to_multiple
from ldznet_core.noise import NoiseSchedule
from ldznet_core.probe import probe_noise
from ldznet_core.taps import Tap, TapsOf

from .family import family_of
from .inpainting import seen_besides
from .inputs import Contexts, count_tokens, pixels_of, token_rows
from .passes import RowsOf, rows_in_order
from .webui import WebUI, as_shown, seen_as_a_whole

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")


class A1111(WebUI):
    """The host."""

    name = "A1111"

    def exclusively(self, work: Callable[[], T]) -> T:
        """Do work while nothing is generated, with the checkpoint that the page shows."""
        return super().exclusively(partial(as_shown, work))

    def unet(self) -> nn.Module:
        """The UNet of the checkpoint that is loaded."""
        unet: nn.Module = _model().model.diffusion_model
        return unet

    def backbone(self) -> A1111Backbone:
        """The checkpoint that is loaded as the segmenter's backbone; loaded first if need be."""
        return A1111Backbone(_model())

    def device(self) -> torch.device:
        """Where networks compute."""
        device: torch.device = devices.device
        return device

    def head_dtype(self) -> torch.dtype:
        """What a head computes in there."""
        return torch.float32 if self.device().type == "cpu" else devices.dtype

    def prompts_of(self, step: Any) -> RowsOf:
        """What tells which row of a pass is each picture's prompt."""
        prompts = getattr(step.denoiser.sampler.sampler_extra_args.get("cond"), "batch", None) or []
        return partial(rows_in_order, prompts=[len(each) for each in prompts])


class A1111Backbone:
    """A `Backbone` of the host's own networks; nothing is copied, and nothing patched."""

    stride = STRIDE

    def __init__(self, model: Any) -> None:
        """Take a loaded checkpoint.

        Raises:
            UnsupportedModelError: It is of a family that is not known.
        """
        self.family = family_of(model.model.diffusion_model)
        self._model = model
        self._contexts = Contexts(self._encode)

    @property
    def unet(self) -> nn.Module:
        """The UNet itself."""
        unet: nn.Module = self._model.model.diffusion_model
        return unet

    @torch.inference_mode()
    def encode_image(self, image: Image) -> Tensor:
        """Clean latents ``(1, C, h, w)`` of an RGB picture with sides in multiples of 8.

        They are taken out of the VAE before it draws some by chance, as SDXL's does
        (sgm/models/autoencoder.py, AutoencoderKLInferenceWrapper).
        """
        vae = self._model.first_stage_model
        vae.to(devices.dtype_vae)
        pixels = pixels_of(image).to(devices.device, devices.dtype_vae)
        moments = {"moments": Tap("quant_conv", vae.quant_conv)}
        with (
            self._without_shortcuts(),
            devices.autocast(),
            capturing(vae, moments, stop_after_last=True) as capture,
        ):
            self._model.encode_first_stage(pixels)
        mode, _ = capture["moments"].float().chunk(2, dim=1)
        latents: Tensor = self._model.scale_factor * mode
        return latents

    @torch.inference_mode()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Text features ``(P, 77, D)``; brackets in a phrase are brackets, and no emphasis."""
        return self._contexts.of(phrases)

    def count_tokens(self, phrases: Sequence[str]) -> list[int]:
        """How many tokens each phrase has, the start and the end token included."""
        return count_tokens(self._encoders, phrases)

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
        context = self.encode_text(phrases)
        clean = pad_to_multiple(latents.to(devices.device))
        noisy = NoiseSchedule().add_noise(clean, probe_noise(clean, generator), t)
        count = len(context)
        unet = self.unet
        precision = devices.without_autocast if devices.unet_needs_upcast else devices.autocast
        conditioning = self._conditioning(context, clean)
        with (
            self._without_shortcuts(),
            precision(),
            self._model.ema_scope(),
            capturing(unet, taps_of(unet), stop_after_last=True) as capture,
        ):
            self._model.apply_model(
                noisy.expand(count, -1, -1, -1),
                noisy.new_full((count,), t),
                conditioning,
            )
        return capture.features(t, "probe")

    @contextmanager
    def _without_shortcuts(self) -> Iterator[None]:
        """With no tokens merged nor attention tiled to save time, and no edges joined for tiling.

        The host leaves edges joined until the next generation (modules/processing.py:895), and
        Hypertile as the last one had it (extensions-builtin/hypertile/hypertile.py:351).
        """
        ratio = getattr(self._model, "applied_token_merged_ratio", 0)
        are_joined = sd_hijack.model_hijack.circular_enabled
        sd_models.apply_token_merging(self._model, 0)
        sd_hijack.model_hijack.apply_circular(False)
        tiled = [tiles for tiles in _hypertiles(self._model) if tiles.enabled]
        for tiles in tiled:
            tiles.enabled = False
        try:
            yield
        finally:
            for tiles in tiled:
                tiles.enabled = True
            sd_hijack.model_hijack.apply_circular(are_joined)
            sd_models.apply_token_merging(self._model, ratio)

    def _encode(self, phrases: Sequence[str]) -> Tensor:
        with devices.autocast():
            if getattr(self._model, "lowvram", False) and _is_of_sgm(self._model):
                self._model.get_learned_conditioning([""])  # brings them in (modules/lowvram.py)
            contexts = [_encoded(encoder, phrases).float() for encoder in self._encoders]
        return torch.cat(contexts, dim=-1)

    @property
    def _encoders(self) -> list[Any]:
        """The host's text encoders: one, or the two of SDXL."""
        whole = self._model.cond_stage_model
        parts = [whole] if isinstance(whole, TextConditionalModel) else whole.embedders
        return [part for part in parts if isinstance(part, TextConditionalModel)]

    def _conditioning(self, context: Tensor, clean: Tensor) -> dict[str, Any]:
        """What a pass over clean latents is told, ``(P, T, D)`` text features and all else.

        Models of sgm have other names for it than those of ldm (modules/sd_models_xl.py:37).
        """
        count = len(context)
        besides = seen_besides(self.unet, clean, count)
        concat = [] if besides is None else [besides]
        if not _is_of_sgm(self._model):
            return {"c_crossattn": [context], "c_concat": concat}
        told = {"crossattn": context, "c_concat": concat}
        if self.family == SDXL:
            with devices.autocast():
                told["vector"] = seen_as_a_whole(self._model, clean, count)
        return told


def _encoded(encoder: Any, phrases: Sequence[str]) -> Tensor:
    """``(P, 77, D)`` of a text encoder: the layer of its family, whatever is set to be skipped."""
    tokens = token_rows(encoder, phrases).to(devices.device)
    network = encoder.wrapped
    if isinstance(encoder, FrozenCLIPEmbedderForSDXLWithCustomWords):
        layers = network.transformer(input_ids=tokens, output_hidden_states=True).hidden_states
        context: Tensor = layers[network.layer_idx]
    elif isinstance(encoder, FrozenCLIPEmbedderWithCustomWords):
        context = network.transformer(input_ids=tokens).last_hidden_state
    else:  # of OpenCLIP, whose configuration names the layer (modules/sd_hijack_open_clip.py)
        context = encoder.encode_with_transformers(tokens)
    return context


def _is_of_sgm(model: Any) -> bool:
    """Whether a checkpoint is SDXL's or SD Turbo's kind of model, and not ldm's."""
    return hasattr(model, "conditioner")


def _hypertiles(model: nn.Module) -> list[Any]:
    """What the host's Hypertile has put on a model's layers, if it ever was turned on."""
    found = (getattr(layer, "__webui_hypertile_params", None) for layer in model.modules())
    return [tiles for tiles in found if tiles is not None]


def _model() -> Any:
    """The checkpoint that is loaded; the host loads it if it has not yet.

    Raises:
        InputError: There is none that could be loaded.
    """
    model = shared.sd_model
    if model is None:
        raise InputError(
            "expected a checkpoint, got none, because the WebUI could not load one: choose one at "
            "the top"
        )
    return model


HOST = A1111()
"""The one of this process."""
