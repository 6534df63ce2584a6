"""Imitates comfy/samplers.py and comfy/sampler_helpers.py of ComfyUI 0.8.0: guiders and samplers.

As in the host: every conditioning gets a uuid of its own for each guider; those of one size are
batched, the last first; what does not fit into memory goes in calls of its own; an area's
conditioning runs on a crop, and the opposite that is made up for it bears the same uuid.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from . import model_management
from .model_base import BaseModel
from .model_patcher import ModelPatcher
from .patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers

Cond: TypeAlias = dict[str, Any]
"""A conditioning under way: its context under ``cross_attn``, its ``uuid``, maybe an ``area``."""


class Sampler:
    """What walks down the sigmas."""

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
        raise NotImplementedError


class CFGGuider:
    """Classifier-free guidance; samplers call it with noisy latents and a sigma."""

    inner_model: BaseModel
    conds: dict[str, list[Cond]]
    """By role; like ``inner_model`` there only while it samples."""

    def __init__(self, model_patcher: ModelPatcher) -> None:
        self.model_patcher = model_patcher
        self.model_options = model_patcher.model_options
        self.original_conds: dict[str, list[Cond]] = {}
        self.cfg = 1.0

    def set_conds(self, positive: Sequence[Any], negative: Sequence[Any]) -> None:
        self.inner_set_conds({"positive": positive, "negative": negative})

    def inner_set_conds(self, conds: Mapping[str, Sequence[Any]]) -> None:
        for role, pairs in conds.items():
            self.original_conds[role] = [
                {**options, "cross_attn": context, "uuid": uuid.uuid4()}
                for context, options in pairs
            ]

    def set_cfg(self, cfg: float) -> None:
        self.cfg = cfg

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.predict_noise(*args, **kwargs)

    def predict_noise(
        self,
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> Tensor:
        return sampling_function(
            self.inner_model,
            x,
            timestep,
            self.conds.get("negative"),
            self.conds.get("positive"),
            self.cfg,
            model_options or {},
        )

    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Sampler,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Any = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:
        """The sampled latents, unscaled; wrappers of OUTER_SAMPLE stand around all of it."""
        self.conds = {
            role: [dict(cond) for cond in conds] for role, conds in self.original_conds.items()
        }
        kept = self.model_options
        self.model_options = _with_wrappers(kept, self.model_patcher)
        try:
            options = self.model_options["transformer_options"]
            wrappers = get_all_wrappers(WrappersMP.OUTER_SAMPLE, options)
            with self.model_patcher.patched():
                output: Tensor = WrapperExecutor(self.outer_sample, self, wrappers).execute(
                    noise,
                    latent_image,
                    sampler,
                    sigmas,
                    denoise_mask,
                    callback,
                    disable_pbar,
                    seed,
                    latent_shapes=[latent_image.shape],
                )
        finally:
            self.model_options = kept
        del self.conds
        return output

    def outer_sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Sampler,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Any = None,
        disable_pbar: bool = False,
        seed: int | None = None,
        latent_shapes: Any = None,
    ) -> Tensor:
        shape = [2 * len(noise), *noise.shape[1:]]
        needed = self.model_patcher.model.memory_required(shape)
        model_management.load_models_gpu([self.model_patcher], memory_required=needed)
        self.inner_model = self.model_patcher.model
        if latent_image.any():  # an empty latent image is not scaled
            latent_image = self.inner_model.process_latent_in(latent_image)
        _process_conds(self.inner_model, self.conds)
        extra_args = {"model_options": self.model_options, "seed": seed}
        samples = sampler.sample(
            self, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar
        )
        output = self.inner_model.process_latent_out(samples.float())
        del self.inner_model
        return output


def sampling_function(
    model: BaseModel,
    x: Tensor,
    timestep: Tensor,
    uncond: list[Cond] | None,
    cond: list[Cond] | None,
    cond_scale: float,
    model_options: dict[str, Any],
) -> Tensor:
    """Guided denoised latents; at a scale of 1 the negative prompt is not run."""
    conds = [cond, None if cond_scale == 1.0 else uncond]
    cond_pred, uncond_pred = calc_cond_batch(model, conds, x, timestep, model_options)
    result = uncond_pred + (cond_pred - uncond_pred) * cond_scale
    for function in model_options.get("sampler_post_cfg_function", []):
        result = function(
            {
                "denoised": result,
                "cond": cond,
                "uncond": uncond,
                "cond_denoised": cond_pred,
                "uncond_denoised": uncond_pred,
                "model": model,
                "sigma": timestep,
                "model_options": model_options,
                "input": x,
            }
        )
    return result


class _Run(NamedTuple):
    """A conditioning and what it is run on."""

    role: int
    """Its place in the list that was given, whatever its part."""
    cond: Cond
    area: tuple[int, ...]
    """(height, width, y, x) of the part of the latents."""
    x: Tensor


def calc_cond_batch(
    model: BaseModel,
    conds: Sequence[list[Cond] | None],
    x_in: Tensor,
    timestep: Tensor,
    model_options: dict[str, Any],
) -> list[Tensor]:
    """The denoised latents of each list of conditionings."""
    waiting = [
        _Run(role, cond, area := _area_of(cond, x_in), _crop(x_in, area))
        for role, listed in enumerate(conds)
        for cond in listed or ()
        if _is_due(cond, timestep)
    ]
    sums = [torch.zeros_like(x_in) for _ in conds]
    counts = [torch.full_like(x_in, 1e-37) for _ in conds]
    while waiting:
        batch = _next_batch(model, waiting)
        options = {
            **model_options.get("transformer_options", {}),
            "cond_or_uncond": [run.role for run in batch],
            "uuids": [run.cond["uuid"] for run in batch],
            "sigmas": timestep,
        }
        contexts = [run.cond["cross_attn"].expand(len(x_in), -1, -1) for run in batch]
        outputs = model.apply_model(
            torch.cat([run.x for run in batch]),
            torch.cat([timestep] * len(batch)),
            c_crossattn=torch.cat(contexts),
            transformer_options=options,
        ).chunk(len(batch))
        for run, output in zip(batch, outputs, strict=True):
            _crop(sums[run.role], run.area).add_(output)
            _crop(counts[run.role], run.area).add_(1)
            waiting[:] = [each for each in waiting if each is not run]
    return [total / count for total, count in zip(sums, counts, strict=True)]


def _next_batch(model: BaseModel, waiting: list[_Run]) -> list[_Run]:
    """As many as fit of those that have the size of the first; the last of them comes first."""
    equal = [run for run in waiting if run.x.shape == waiting[0].x.shape][::-1]
    free = model_management.get_free_memory(waiting[0].x.device)
    for parts in range(1, len(equal) + 1):
        batch = equal[: len(equal) // parts]
        shape = [len(batch) * len(batch[0].x), *batch[0].x.shape[1:]]
        if model.memory_required(shape) * 1.5 < free:
            return batch
    return equal[:1]


def _process_conds(model: BaseModel, conds: dict[str, list[Cond]]) -> None:
    """Turn parts of the way into sigmas, and give areas an opposite in the other roles."""
    for listed in conds.values():
        for cond in listed:
            for key in ("start", "end"):
                if f"{key}_percent" in cond:
                    sigma = model.model_sampling.percent_to_sigma(cond[f"{key}_percent"])
                    cond[f"timestep_{key}"] = sigma
    with_area = [
        (role, cond) for role, listed in conds.items() for cond in listed if "area" in cond
    ]
    for role, cond in with_area:
        for other, listed in conds.items():
            whole = [each for each in listed if "area" not in each]
            if other != role and whole:
                listed.append({**cond, "cross_attn": whole[0]["cross_attn"]})


def _is_due(cond: Cond, timestep: Tensor) -> bool:
    sigma = float(timestep[0])
    start: float = cond.get("timestep_start", float("inf"))
    end: float = cond.get("timestep_end", 0.0)
    return end <= sigma <= start


def _area_of(cond: Cond, x: Tensor) -> tuple[int, ...]:
    return tuple(cond.get("area", (*x.shape[2:], 0, 0)))


def _crop(maps: Tensor, area: tuple[int, ...]) -> Tensor:
    height, width, top, left = area
    return maps[:, :, top : top + height, left : left + width]


def _with_wrappers(options: dict[str, Any], patcher: ModelPatcher) -> dict[str, Any]:
    """Options for one run, with the MODEL's wrappers among those for the UNet."""
    wrappers = {
        place: {key: list(listed) for key, listed in by_key.items()}
        for place, by_key in patcher.wrappers.items()
    }
    return {
        **options,
        "transformer_options": {**options["transformer_options"], "wrappers": wrappers},
    }
