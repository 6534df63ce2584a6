"""A probe by the host's own means: one pass of the UNet through ComfyUI's guider.

So the model is loaded and offloaded, and LoRAs and other patches applied, as for any sampling.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider, Sampler
from torch import Tensor

from ..ldznet_core import Features, capturing, find_taps
from ..ldznet_core.frames import pad_to_multiple
from ..ldznet_core.probe import probe_noise
from ..ldznet_core.taps import TapsOf
from .eager import uncompiled
from .levels import sigma_of
from .sampling import without_capture


def probe(
    model: ModelPatcher,
    latents: Tensor,
    context: Tensor,
    t: float,
    generator: torch.Generator | None = None,
    *,
    taps_of: TapsOf = find_taps,
    pooled: Tensor | None = None,
) -> Features:
    """Features in the frame of the padded latents, a row for each phrase.

    Args:
        model: With places to listen at.
        latents: ``(1, C, h, w)``, clean, scaled as the UNet takes them.
        context: ``(P, T, D)`` text features.
        t: The timestep, 0 to 999.
        generator: Source of the noise; None means a fixed seed.
        taps_of: Finds where features are taken.
        pooled: ``(P, D)`` text features of whole phrases; only SDXL wants them.
    """
    quiet = without_capture(model)
    padded = pad_to_multiple(latents)
    rows = (len(context), -1, -1, -1)
    noise = probe_noise(padded, generator).expand(rows)
    once = _OnePass(t, taps_of)
    stored = quiet.get_model_object("latent_format").process_out(padded)
    told = _seen_besides(quiet, stored)
    if pooled is not None:
        told["pooled_output"] = pooled
    guider = CFGGuider(quiet)
    guider.set_conds([[context, told]], [])
    guider.set_cfg(1.0)
    sigmas = sigma_of(quiet.get_model_object("model_sampling"), t)
    guider.sample(noise, stored.expand(rows), once, sigmas, disable_pbar=True)
    if once.features is None:
        raise RuntimeError("ComfyUI's guider did not call its sampler")
    return once.features


def _seen_besides(model: ModelPatcher, stored: Tensor) -> dict[str, Any]:
    """What the UNets of inpainting checkpoints are told of a picture: nothing in it is masked.

    Args:
        model: Whose UNet it is.
        stored: The picture as a LATENT has it, ``(1, C, h, w)``.
    """
    if not getattr(model.model, "concat_keys", ()):
        return {}
    nothing = stored.new_zeros(1, 1, *stored.shape[-2:])
    return {"concat_mask": nothing, "concat_latent_image": stored}


class _OnePass(Sampler):
    """A sampler of a single pass, ended as soon as the last tap has given its features."""

    def __init__(self, t: float, taps_of: TapsOf) -> None:
        self._timestep, self._taps_of = t, taps_of
        self.features: Features | None = None

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Listen to one pass on the noisy latents; the latents come back as they were."""
        model = model_wrap.inner_model
        sigma = sigmas[:1]
        noisy = model.model_sampling.noise_scaling(sigma, noise.clone(), latent_image)
        unet = model.diffusion_model
        with (
            uncompiled(),
            capturing(unet, self._taps_of(unet), stop_after_last=True) as capture,
        ):
            model_wrap(noisy, sigma.expand(len(noisy)), **extra_args)
        capture.check_sizes(len(noisy), (noisy.shape[-2], noisy.shape[-1]))
        self.features = capture.features(self._timestep, "probe")
        return latent_image
