"""Features taken while ComfyUI's samplers run, from the passes that they make anyway.

Two wrappers are put on a MODEL. The outer one surrounds a whole call of a sampler, the inner one
each pass of the UNet; hooks exist only inside such a pass. What one run showed goes to the bank
when it has ended, and nothing is kept of a run that failed or was interrupted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ..ldznet_core import CaptureError, Features, capturing, find_taps
from ..ldznet_core.capture import (
    BEST_TIMESTEP,
    WINDOW,
    Capture,
    distance_from_best,
    is_in_window,
    why_none,
)
from ..ldznet_core.taps import Taps, TapsOf
from ..ldznet_core.training_free import Place
from .bank import Bank, Missing
from .eager import uncompiled

KEY = "ldznet"
"""Under which the wrappers stand in a MODEL."""


def with_capture(model: ModelPatcher, bank: Bank, taps_of: TapsOf = find_taps) -> ModelPatcher:
    """A clone of the model whose samplers leave features in the bank; pictures stay the same.

    Args:
        model: Of a layout that the taps are known of.
        bank: Takes the features.
        taps_of: Finds where they are taken.

    Raises:
        UnsupportedModelError: Its UNet is of another layout.
    """
    taps_of(model.model.diffusion_model)
    clone = without_capture(model)
    clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _around_run(bank, taps_of))
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _around_pass)
    return clone


def without_capture(model: ModelPatcher) -> ModelPatcher:
    """A clone of the model with none of our wrappers."""
    clone = model.clone()
    for place in (WrappersMP.OUTER_SAMPLE, WrappersMP.APPLY_MODEL):
        clone.remove_wrappers_with_key(place, KEY)
    return clone


def check_rows(capture: Capture, rows: int) -> None:
    """Make sure that a row of each block is a row of the pass: other packs cut pictures up."""
    for key, block in capture.items():
        if len(block) != rows:
            raise CaptureError(
                f"expected {rows} rows from {key}, got {len(block)}: leave out what cuts pictures "
                "into tiles inside the UNet, such as HyperTile"
            )


_RUN: ContextVar[_Run | None] = ContextVar("ldznet_run", default=None)
"""The innermost run under way; runs may lie within runs, and each has features of its own."""


def _around_run(bank: Bank, taps_of: TapsOf) -> Callable[..., Tensor]:
    """The wrapper of OUTER_SAMPLE: one call of a sampler."""

    def wrapper(
        executor: Any, noise: Tensor, latent_image: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        run = _Run(executor.class_obj, tuple(latent_image.shape), taps_of)
        token = _RUN.set(run)
        try:
            sampled: Tensor = executor(noise, latent_image, *args, **kwargs)
        finally:
            _RUN.reset(token)
        continues = not bool(noise.any())  # the second half of a run that was cut in two
        for index in range(len(sampled)):
            picture = slice(index, index + 1)
            found = run.features_of(picture)
            if isinstance(found, Missing) and continues:
                earlier = bank.get(latent_image[picture])
                found = found if isinstance(earlier, Missing) else earlier
            bank.put(sampled[picture], found)
        return sampled

    return wrapper


def _around_pass(
    executor: Any,
    x: Tensor,
    t: Tensor,
    c_concat: Any = None,
    c_crossattn: Any = None,
    control: Any = None,
    transformer_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Tensor:
    """The wrapper of APPLY_MODEL: one pass of the UNet, with some or all of the conditionings."""
    run = _RUN.get()
    options = {} if transformer_options is None else transformer_options

    def call() -> Tensor:
        output: Tensor = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        return output

    if run is None or executor.class_obj is not run.model:
        return call()
    return run.listen(call, x, t, options.get("uuids", ()))


@dataclass
class _Run:
    """What the passes of one call of a sampler have shown so far."""

    guider: Any
    shape: tuple[int, ...]
    """Of the latents that are sampled, ``(B, C, h, w)``."""
    taps_of: TapsOf
    """Finds where features are taken."""
    nearest: dict[UUID, Features] = field(default_factory=dict)
    """By conditioning, the features nearest to the best timestep; ``B`` rows."""
    timesteps: list[float] = field(default_factory=list)
    """Of all passes."""
    within: set[UUID] = field(default_factory=set)
    """The conditionings, of whatever role and region, of the passes in the window."""
    silence: str = ""
    """What kept the taps from being heard."""

    @property
    def model(self) -> Any:
        return self.guider.model_patcher.model

    @property
    def unet(self) -> nn.Module:
        unet: nn.Module = self.model.diffusion_model
        return unet

    def listen(
        self, call: Callable[[], Tensor], x: Tensor, t: Tensor, uuids: Sequence[UUID]
    ) -> Tensor:
        """Make a pass, and keep the prompt's features if they are nearer than those before.

        Args:
            call: Makes the pass.
            x: ``(len(uuids) * B, C, h, w)``; conditionings one after the other.
            t: Sigmas, all equal.
            uuids: Which conditionings are in it.
        """
        timestep = float(self.model.model_sampling.timestep(t[:1]))
        self.timesteps.append(timestep)
        rows = self._wanted_rows(x, timestep, uuids)
        if not rows:
            return call()
        output = None
        try:
            with uncompiled(), capturing(self.unet, self._taps) as capture:
                output = call()
            check_rows(capture, len(x))
        except CaptureError as error:
            if output is None:  # not from this capture
                raise
            logging.getLogger(__name__).warning("LD-ZNet: %s", error)
            self.silence = str(error)
            return output
        for uuid, its_rows in rows.items():
            self.nearest[uuid] = capture.features(timestep, "sampling", its_rows)
        return output

    def features_of(self, picture: slice) -> Features | Missing:
        """The features of one picture of the batch, on the CPU, or why there are none."""
        captured = [self.nearest[uuid] for uuid in self._prompts() if uuid in self.nearest]
        if not captured:
            return Missing(self._reason())
        best = min(captured, key=distance_from_best)
        blocks = {key: _kept(key, block[picture]) for key, block in best.blocks.items()}
        return Features(blocks, best.timestep, "sampling")

    @property
    def _taps(self) -> Taps:
        return self.taps_of(self.unet)

    def _wanted_rows(self, x: Tensor, timestep: float, uuids: Sequence[UUID]) -> dict[UUID, slice]:
        """Where the prompt's conditionings lie in a pass, as far as the pass is of use.

        Of passes at one timestep the first counts: guidance nodes repeat it with a UNet made worse
        on purpose. Passes of another size are of a region.
        """
        batch = self.shape[0]
        if not is_in_window(timestep):
            return {}
        self.within.update(uuids)
        if len(x) != len(uuids) * batch or x.shape[2:] != self.shape[2:]:
            return {}
        prompts = self._prompts()
        return {
            uuid: slice(place * batch, (place + 1) * batch)
            for place, uuid in enumerate(uuids)
            if uuid in prompts
            and abs(timestep - BEST_TIMESTEP) < distance_from_best(self.nearest.get(uuid))
        }

    def _prompts(self) -> list[UUID]:
        """The conditionings of the positive prompt.

        ComfyUI gives an area's conditioning and the opposite that it makes up for it one name; such
        are left out, as nothing tells them apart (comfy/samplers.py, create_cond_with_same_area).
        """
        roles = self.guider.conds
        others = {
            uuid for role, conds in roles.items() if role != "positive" for uuid in _uuids(conds)
        }
        return [uuid for uuid in _uuids(roles.get("positive", ())) if uuid not in others]

    def _reason(self) -> str:
        window = f"at a timestep from {WINDOW[0]:.0f} to {WINDOW[1]:.0f}"
        if self.silence:
            return f"capture failed while sampling ({self.silence})"
        if not any(map(is_in_window, self.timesteps)):
            return why_none(self.timesteps)
        if not self.within:
            return "the sampler's guider does not tell which pass is the prompt's"
        if self.within.isdisjoint(_uuids(self.guider.conds.get("positive", ()))):
            return f"the positive prompt had no say {window}"
        return "the positive prompt was applied to regions only"


def _kept(key: Any, rows: Tensor) -> Tensor:
    """A block's rows on the CPU; attention, which is only compared, in half precision at most."""
    is_wide = isinstance(key, Place) and rows.dtype == torch.float32
    return rows.to("cpu", torch.float16 if is_wide else rows.dtype, copy=True)


def _uuids(conds: Sequence[Mapping[str, Any]] | None) -> list[UUID]:
    """The names of a role's conditionings; a role may be left empty."""
    return [cond["uuid"] for cond in conds or () if cond.get("uuid") is not None]
