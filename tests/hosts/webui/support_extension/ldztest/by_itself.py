"""What the host gives for texts and pictures by its own calls, with nothing of the extension."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from modules import shared
from modules.prompt_parser import SdConditioning
from torch import Tensor

from ldznet_core.noise import seeded_noise

from .listening import unet


@torch.inference_mode()
def context(phrases: Sequence[str]) -> Tensor:
    """The host's conditioning of each phrase, ``(P, 77, D)``."""
    return torch.cat([_crossattn(_conditioning(phrase, (512, 512))) for phrase in phrases])


@torch.inference_mode()
def given(host: str, latents: Tensor, layers: Sequence[str], t: float) -> dict[str, Tensor]:
    """What layers give in a pass of the host over latents under noise, which is told no text."""
    found: dict[str, Tensor] = {}
    height, width = latents.shape[-2:]
    told = _conditioning("", (8 * height, 8 * width))
    noise = seeded_noise(latents.shape, 0).to(latents)
    network = unet()

    def keep(name: str) -> Any:
        return lambda module, inputs, output: found.update({name: output.clone()})

    with ExitStack() as hooks:
        for name in layers:
            handle = network.get_submodule(name).register_forward_hook(keep(name))
            hooks.callback(handle.remove)
        if host == "A1111":
            _pass_of_a1111(latents, noise, t, told)
        else:
            _pass_of_forge(latents, noise, t, told)
    return found


def _pass_of_a1111(latents: Tensor, noise: Tensor, t: float, told: Any) -> None:
    kept = shared.sd_model.alphas_cumprod[int(t)].to(latents)
    noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
    if not isinstance(told, dict):
        told = {"c_crossattn": [told], "c_concat": []}
    shared.sd_model.apply_model(noisy, torch.full((1,), float(t)), told)


def _pass_of_forge(latents: Tensor, noise: Tensor, t: float, told: Any) -> None:
    model = shared.sd_model.forge_objects.unet.model
    schedule = getattr(model, "predictor", None) or model.model_sampling
    sigma = schedule.sigma(torch.tensor([float(t)]))
    vector = told.get("vector") if isinstance(told, dict) else None
    noisy = latents + sigma * noise
    model.apply_model(noisy, sigma, c_crossattn=_crossattn(told), y=vector)


def _conditioning(text: str, size: tuple[int, int]) -> Any:
    asked = SdConditioning([text], height=size[0], width=size[1])
    return shared.sd_model.get_learned_conditioning(asked)


def _crossattn(told: Any) -> Tensor:
    return told["crossattn"] if isinstance(told, dict) else told
