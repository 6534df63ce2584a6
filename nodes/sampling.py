"""Features taken while ComfyUI's samplers run, from the passes that they make anyway.

Two wrappers are put on a MODEL. The outer one surrounds a whole call of a sampler, the inner one
each pass of the UNet; hooks exist only inside such a pass. What passes with the prompt gave is
compared with what those with the negative one gave. What one run showed goes to the bank when it
has ended, and nothing is kept of a run that failed or was interrupted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ..ldznet_core import CaptureError, Features, capturing, find_taps
from ..ldznet_core.capture import (
    AIMS,
    LATE,
    Aim,
    Missing,
    describe_window,
    is_in_window,
    why_none,
)
from ..ldznet_core.taps import Taps, TapsOf
from ..ldznet_core.training_free.places import kept_on_cpu
from ..ldznet_core.training_free.whole_prompt import PromptDifference, Side
from .bank import Bank, Heard, Picture, Seen, first_found
from .conditionings import conds_of, rows_of, uuids_of, whole_conds_of
from .eager import uncompiled
from .levels import timestep_of

KEY = "ldznet"
"""Under which the wrappers stand in a MODEL."""


def with_capture(model: ModelPatcher, bank: Bank, taps_of: TapsOf = find_taps) -> ModelPatcher:
    """A clone of the model whose samplers leave features in the bank; pictures stay the same.

    Where an earlier capture on the model takes features, this one does as well.

    Args:
        model: Of a layout that the taps are known of.
        bank: Takes the features.
        taps_of: Finds where they are taken; nowhere, if only the prompt's difference is wanted.

    Raises:
        UnsupportedModelError: Its UNet is of another layout.
    """
    earlier: list[_AroundRun] = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
    finders = [*(wrapper.taps_of for wrapper in earlier), taps_of]

    def all_taps_of(unet: nn.Module) -> Taps:
        return {key: tap for find in finders for key, tap in find(unet).items()}

    all_taps_of(model.model.diffusion_model)
    clone = without_capture(model)
    clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _AroundRun(bank, all_taps_of))
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _around_pass)
    return clone


def without_capture(model: ModelPatcher) -> ModelPatcher:
    """A clone of the model with none of our wrappers."""
    clone = model.clone()
    for place in (WrappersMP.OUTER_SAMPLE, WrappersMP.APPLY_MODEL):
        clone.remove_wrappers_with_key(place, KEY)
    return clone


_SIDES: dict[Side, str] = {"prompt": "positive", "reference": "negative"}
"""The roles whose estimates are compared."""


class _Wanted(NamedTuple):
    """A conditioning's rows in a pass, for heads that want to see it."""

    aim: Aim
    uuid: UUID
    rows: slice


_RUN: ContextVar[_Run | None] = ContextVar("ldznet_run", default=None)
"""The innermost run under way; runs may lie within runs, and each has features of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class _AroundRun:
    """The wrapper of OUTER_SAMPLE: one call of a sampler."""

    bank: Bank
    taps_of: TapsOf
    """Finds where features are taken; a Capture that comes after goes on from it."""

    def __call__(
        self,
        executor: Any,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Callable[..., object] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        run = _Run(executor.class_obj, tuple(latent_image.shape), self.taps_of)
        watched = run.watched(callback)
        token = _RUN.set(run)
        try:
            sampled: Tensor = executor(
                noise, latent_image, sampler, sigmas, denoise_mask, watched, *args, **kwargs
            )
        finally:
            _RUN.reset(token)
        is_second_half = not bool(noise.any())  # of a run that was cut in two
        earlier = latent_image if is_second_half else None
        has_noise = float(sigmas[-1]) > 0
        self.bank.put_run(self._pictures(run, sampled, earlier, has_noise=has_noise))
        return sampled

    def _pictures(
        self, run: _Run, sampled: Tensor, earlier: Tensor | None, *, has_noise: bool
    ) -> Iterator[Picture]:
        """What a run showed of each of its pictures.

        Args:
            run: Which has ended.
            sampled: What it returned.
            earlier: The latents that it went on from; what it did not see is known by these.
            has_noise: Whether it left noise in its latents.
        """
        estimates = run.estimates()
        for index in range(len(sampled)):
            picture = slice(index, index + 1)
            heard, difference = run.heard_of(picture), run.difference_of(picture)
            if earlier is not None:
                before = self.bank.seen(earlier[picture])
                heard = {aim: first_found(heard[aim], before.features(aim)) for aim in AIMS}
                difference = first_found(difference, before.difference)
            shown = [] if estimates is None else [estimates[picture]]
            clean = shown[0].clone() if shown and has_noise else None
            yield Picture((sampled[picture], *shown), Seen(heard, difference, clean))

    def __deepcopy__(self, memo: object) -> _AroundRun:
        """Itself, as of any function: packs copy a MODEL's options deeply, and the bank is one."""
        return self


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
    nearest: dict[tuple[Aim, UUID], Features] = field(default_factory=dict)
    """By what heads want to see and by conditioning, the best features; ``B`` rows."""
    timesteps: list[float] = field(default_factory=list)
    """Of all passes."""
    within: dict[Aim, set[UUID]] = field(default_factory=lambda: {aim: set() for aim in AIMS})
    """The conditionings, of whatever role and region, of the passes that heads want to see."""
    difference: PromptDifference = field(default_factory=PromptDifference)
    """Of what the passes gave with the prompt and with the negative one."""
    compared: set[UUID] = field(default_factory=set)
    """The same in the difference's own window."""
    silence: str = ""
    """What kept the taps from being heard."""
    estimate: Tensor | None = None
    """What the sampler took for the clean latents in its last step, as the UNet takes them."""

    @property
    def model(self) -> Any:
        return self.guider.model_patcher.model

    @property
    def unet(self) -> nn.Module:
        unet: nn.Module = self.model.diffusion_model
        return unet

    def watched(self, callback: Callable[..., object] | None) -> Callable[..., object]:
        """A sampler's callback that keeps the last estimate beside what it did before."""

        def watch(step: int, denoised: Tensor, *further: Any) -> None:
            self.estimate = denoised
            if callback is not None:
                callback(step, denoised, *further)

        return watch

    def estimates(self) -> Tensor | None:
        """The last estimates ``(B, C, h, w)`` on the CPU, as nodes give them as denoised output."""
        if self.estimate is None or self.estimate.shape != self.shape:
            return None
        estimates: Tensor = self.model.process_latent_out(self.estimate.cpu())
        return estimates

    def listen(
        self, call: Callable[[], Tensor], x: Tensor, t: Tensor, uuids: Sequence[UUID]
    ) -> Tensor:
        """Make a pass, compare what it gave, and keep features that are nearer than those before.

        Args:
            call: Makes the pass.
            x: ``(len(uuids) * B, C, h, w)``; conditionings one after the other.
            t: Sigmas, all equal.
            uuids: Which conditionings are in it.
        """
        timestep = timestep_of(self.model.model_sampling, t[:1])
        self.timesteps.append(timestep)
        is_whole = len(x) == len(uuids) * self.shape[0] and x.shape[2:] == self.shape[2:]
        for aim, seen in self.within.items():
            if aim.takes(timestep):
                seen.update(uuids)
        output = self._listen(call, x, timestep, uuids) if is_whole else call()
        if self.difference.wants(timestep):
            self.compared.update(uuids)
            if is_whole and output.shape == x.shape:
                self._compare(output, float(t[0]), timestep, uuids)
        return output

    def _listen(
        self, call: Callable[[], Tensor], x: Tensor, timestep: float, uuids: Sequence[UUID]
    ) -> Tensor:
        wanted = self._wanted_rows(timestep, uuids)
        if not wanted:
            return call()
        taps = self._taps_for({aim for aim, _, _ in wanted})
        output = None
        try:
            # Of no taps, nothing need run uncompiled.
            with uncompiled() if taps else nullcontext(), capturing(self.unet, taps) as capture:
                output = call()
            capture.check_sizes(len(x), (x.shape[-2], x.shape[-1]))
            taken = {uuid: capture.features(timestep, "sampling", rows) for _, uuid, rows in wanted}
            self.nearest |= {(aim, uuid): taken[uuid] for aim, uuid, _ in wanted}
        except CaptureError as error:
            if output is None:  # not from this capture
                raise
            logging.getLogger(__name__).warning("LD-ZNet: %s", error)
            self.silence = str(error)
        return output

    def _compare(
        self, output: Tensor, sigma: float, timestep: float, uuids: Sequence[UUID]
    ) -> None:
        """Take what a pass gave, clean latents, for the conditionings of the whole picture."""
        rows = rows_of(uuids, self.shape[0])
        for side, role in _SIDES.items():
            for uuid, cond in whole_conds_of(self.guider.conds, role).items():
                if uuid in rows:
                    weight = float(cond.get("strength", 1.0))
                    self.difference.add(
                        output[rows[uuid]], side, timestep, sigma=sigma, name=uuid, weight=weight
                    )

    def heard_of(self, picture: slice) -> Heard:
        """The features of one picture of the batch, on the CPU, or why there are none."""
        return {aim: self._features_of(picture, aim) for aim in AIMS}

    def _features_of(self, picture: slice, aim: Aim) -> Features | Missing:
        prompts = conds_of(self.guider.conds, "positive")
        heard = {uuid: self.nearest[aim, uuid] for uuid in prompts if (aim, uuid) in self.nearest}
        if not heard:
            return Missing(self._reason(aim))
        whole = whole_conds_of(self.guider.conds, "positive")

        def rank(uuid: UUID) -> tuple[bool, float]:
            """Prompts for regions come last, and then the nearest timestep counts."""
            return uuid not in whole, aim.distance(heard[uuid].timestep)

        best = heard[min(heard, key=rank)]
        blocks = {key: kept_on_cpu(key, block[picture]) for key, block in best.blocks.items()}
        return Features(blocks, best.timestep, "sampling")

    def difference_of(self, picture: slice) -> Tensor | Missing:
        """How much the prompt changed the noise of one picture, ``(h, w)`` on the CPU."""
        maps = self.difference.maps()
        if maps is None:
            return Missing(self._why_no_difference())
        return maps[picture][0].to("cpu", copy=True)

    def _taps_for(self, aims: Set[Aim]) -> Taps:
        """Where to listen: attention is read of late passes alone."""
        taps = self.taps_of(self.unet)
        return (
            taps if LATE in aims else {at: tap for at, tap in taps.items() if isinstance(at, int)}
        )

    def _wanted_rows(self, timestep: float, uuids: Sequence[UUID]) -> list[_Wanted]:
        """Where the prompt's conditionings lie in a pass, as far as the pass is of use.

        Of passes at one timestep the first counts: guidance nodes repeat it with a UNet made worse
        on purpose.
        """
        aims = [aim for aim in AIMS if aim.takes(timestep)]
        if not aims:
            return []
        prompts = conds_of(self.guider.conds, "positive")
        return [
            _Wanted(aim, uuid, rows)
            for uuid, rows in rows_of(uuids, self.shape[0]).items()
            for aim in aims
            if uuid in prompts and aim.prefers(timestep, self.nearest.get((aim, uuid)))
        ]

    def _reason(self, aim: Aim) -> str:
        if self.silence:
            return f"capture failed while sampling ({self.silence})"
        return self._why_unheard(aim.window, self.within[aim])

    def _why_no_difference(self) -> str:
        roles, window = self.guider.conds, self.difference.window
        if self.compared.isdisjoint(whole_conds_of(roles, "positive")):
            return self._why_unheard(window, self.compared)
        if self.compared.isdisjoint(uuids_of(roles, "negative")):
            when = describe_window(window)
            return f"sampling had no guidance {when} (a CFG of 1, or no negative prompt)"
        return "no step had both prompts for the whole picture"

    def _why_unheard(self, window: tuple[float, float], uuids: set[UUID]) -> str:
        """Why passes with these conditionings, all of the window, were of no use for the prompt."""
        if not any(is_in_window(timestep, window) for timestep in self.timesteps):
            return why_none(self.timesteps, window)
        if not uuids:
            return "the sampler's guider does not tell which pass is the prompt's"
        if uuids.isdisjoint(uuids_of(self.guider.conds, "positive")):
            return f"the positive prompt had no say {describe_window(window)}"
        return "the positive prompt was applied to regions only"
