"""Sampling in the stand-in host: a tiny real UNet, prompts by words, and features taken by hand.

What needs the host is imported in the functions: it is there only while tests run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.tiny import CONTEXT_DIM, TinyBackbone
from .loading import Pack

PLACES = {
    6: "input_blocks.8.1",
    7: "middle_block.1",
    8: "output_blocks.3.1",
    9: "output_blocks.4.1",
    10: "output_blocks.5.1",
}
"""The taps, as written down for ComfyUI's UNet (openaimodel.py, 0.8.0)."""

SCHEDULE = (900, 410, 350)
"""Timesteps of which two lie in the window of captures."""

NEAREST = 410
"""The one nearest to 400."""

TEXTS = TinyBackbone()
"""Gives prompts their context."""


def tiny_model(unet: nn.Module | None = None, context_dim: int = CONTEXT_DIM) -> Any:
    """A MODEL of the tiny UNet, or of another; its latents have SD 1.x's scale."""
    from comfy.latent_formats import SD15
    from comfy.model_base import BaseModel
    from comfy.model_patcher import ModelPatcher

    config = SimpleNamespace(latent_format=SD15(), unet_config={"context_dim": context_dim})
    model = BaseModel(config, unet=unet or TinyBackbone().unet)
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def prompt(*texts: str, **options: Any) -> list[list[Any]]:
    """A CONDITIONING of these texts, each with the options of ComfyUI's conditioning nodes."""
    return [[TEXTS.encode_text([text]), dict(options)] for text in texts]


def guider(model: Any, positive: Any = None, negative: Any = None, cfg: float = 5.0) -> Any:
    """The guider of a KSampler."""
    from comfy.samplers import CFGGuider

    made = CFGGuider(model)
    made.set_conds(positive or prompt("a cat"), negative or prompt(""))
    made.set_cfg(cfg)
    return made


def basic_guider(model: Any, positive: Any) -> Any:
    """A BasicGuider, which has no negative prompt."""
    made = guider(model, positive, cfg=1.0)
    made.original_conds.clear()
    made.inner_set_conds({"positive": positive})
    return made


def dual_guider(model: Any, positive: Any, middle: Any, negative: Any) -> Any:
    """A DualCFGGuider, which runs negative, middle, positive (nodes_custom_sampler.py, 0.8.0)."""
    from comfy.samplers import CFGGuider, calc_cond_batch

    class DualCFGGuider(CFGGuider):
        def predict_noise(
            self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None
        ) -> Tensor:
            conds = [self.conds[role] for role in ("negative", "middle", "positive")]
            none, middle, whole = calc_cond_batch(
                self.inner_model, conds, x, timestep, model_options
            )
            return none + 2 * (middle - none) + 3 * (whole - middle)

    made = DualCFGGuider(model)
    made.inner_set_conds({"positive": positive, "middle": middle, "negative": negative})
    return made


def guide_away_from(model: Any, role: str, *, offset: float = 0.0) -> None:
    """Have a model's guidance run one more pass in each step, of one prompt alone.

    Args:
        model: A MODEL, which is changed.
        role: ``cond``, as perturbed-attention guidance has it, or ``uncond``, as self-attention
            guidance has it.
        offset: What is added to the latents of that pass, so that it sees worse ones.
    """
    from comfy.samplers import calc_cond_batch

    def guide(args: dict[str, Any]) -> Tensor:
        x, options = args["input"] + offset, args["model_options"]
        (bad,) = calc_cond_batch(args["model"], [args[role]], x, args["sigma"], options)
        guided: Tensor = args["denoised"] + 0.5 * (args[f"{role}_denoised"] - bad)
        return guided

    model.set_model_sampler_post_cfg_function(guide)


@dataclass
class Euler:
    """A sampler of straight steps, which notes what it gave to the UNet."""

    before_step: Callable[[int], None] = lambda step: None
    """Called with the number of each step."""
    seen: list[Tensor] = field(default_factory=list)
    """The noisy latents of each step."""

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
        x = model_wrap.inner_model.model_sampling.noise_scaling(sigmas[0], noise, latent_image)
        for step, (sigma, following) in enumerate(pairwise(sigmas)):
            self.before_step(step)
            self.seen.append(x.clone())
            denoised = model_wrap(x, sigma.expand(len(x)), **extra_args)
            if callback is not None:  # (step, denoised, x, total): KSAMPLER.sample, 0.8.0
                callback(step, denoised, x, len(sigmas) - 1)
            x = x + (x - denoised) / sigma * (following - sigma)
        return x


def run(
    guider: Any,
    timesteps: Sequence[float],
    *,
    sampler: Any = None,
    pictures: int = 1,
    size: tuple[int, int] = (8, 8),
    seed: int = 0,
    latents: Tensor | None = None,
    noise: Tensor | None = None,
    last: float | None = None,
    callback: Callable[..., object] | None = None,
) -> Tensor:
    """The LATENT that a guider samples, as ComfyUI does: in inference mode.

    Args:
        guider: From `guider`.
        timesteps: Of the passes.
        sampler: An `Euler`, unless another is given.
        pictures: In the batch.
        size: Of the latents.
        seed: Of the noise.
        latents: To begin with; None means empty ones.
        noise: To begin with, in the place of the seed's.
        last: The timestep that the result is left at; None means no noise.
        callback: Told of each step.
    """
    shape = (pictures, 4, *size)
    if noise is None:
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    sigmas = guider.model_patcher.get_model_object("model_sampling").sigma(
        torch.tensor([*timesteps, *([last] if last is not None else [])], dtype=torch.float32)
    )
    if last is None:
        sigmas = torch.cat([sigmas, torch.zeros(1)])
    start = torch.zeros(shape) if latents is None else latents
    with torch.inference_mode():
        return guider.sample(noise, start, sampler or Euler(), sigmas, callback=callback, seed=seed)


def features_by_hand(model: Any, x: Tensor, timestep: float, text: str) -> dict[int, Tensor]:
    """What the taps give for noisy latents ``(1, 4, h, w)``, by hooks of the test's own."""
    unet, blocks = model.model.diffusion_model, {}
    sigma = model.get_model_object("model_sampling").sigma(torch.tensor([timestep]))

    def hook(block: int) -> Any:
        return lambda module, inputs, output: blocks.update({block: output.clone()})

    handles = [
        unet.get_submodule(name).register_forward_hook(hook(block))
        for block, name in PLACES.items()
    ]
    with torch.inference_mode():
        scaled = x / (sigma**2 + 1) ** 0.5
        unet(scaled, torch.tensor([float(timestep)]), TEXTS.encode_text([text]))
    for handle in handles:
        handle.remove()
    return blocks


def seen_at(sampler: Euler, timestep: float, timesteps: Sequence[float] = SCHEDULE) -> Tensor:
    """The noisy latents that a sampler gave to the UNet at a timestep."""
    return sampler.seen[list(timesteps).index(timestep)]


def assert_same_features(found: Any, expected: dict[int, Tensor]) -> None:
    """Equal but for the rounding of passes in other batches."""
    assert list(found.blocks) == list(expected)
    for block, feature in expected.items():
        scale = float(feature.std())  # rounding grows with the features
        torch.testing.assert_close(found.blocks[block], feature, atol=1e-4 * scale, rtol=1e-4)


def reason(pack: Pack, found: Any) -> str:
    """Why there is nothing, as the bank tells it; an error where there is something."""
    assert isinstance(found, pack.module("nodes.bank").Missing)
    return str(found.reason)


def hooks_of(unet: nn.Module) -> int:
    """How many hooks there are on the UNet and its parts."""
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in unet.modules())
