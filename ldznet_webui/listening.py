"""Features heard while the host samples: from the passes it makes anyway, changing nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from ldznet_core import CaptureError, Features, capturing
from ldznet_core.capture import Aim, Capture, Missing, why_none
from ldznet_core.taps import TapsOf
from ldznet_core.training_free.places import kept_on_cpu

from .passes import Pass, RowsOf


class Wanted(NamedTuple):
    """What a head wants to hear."""

    taps_of: TapsOf
    """Finds where it listens."""
    aim: Aim
    """When it does."""


@dataclass(slots=True)
class _HeardPass:
    """A pass under way whose features are wanted."""

    capture: Capture
    hooks: ExitStack
    timestep: float
    count: int
    """Rows that it has."""
    rows: Mapping[int, int]
    """Which row is which picture's prompt."""


class Listening:
    """One sampling of one batch, heard; of each picture the pass that suits the head best is kept.

    The hooks sit on the UNet itself and live until `stop`; those on its taps for single passes.
    They never raise: what goes wrong in them costs the masks, and not the picture.
    """

    def __init__(
        self,
        prompts_of: Callable[[Any], RowsOf],
        pictures: int,
        size: tuple[int, int],
        wanted: Wanted,
    ) -> None:
        """Get ready for a batch.

        Args:
            prompts_of: Of the host.
            pictures: How many the batch has.
            size: (height, width) of its latents; passes of other sizes see parts of pictures.
            wanted: By the head; nothing else is kept.
        """
        self._prompts_of = prompts_of
        self._size = size
        self._taps_of, self._aim = wanted
        self._nearest: list[Features | None] = [None] * pictures
        self._timesteps: list[float] = []
        self._silence = ""
        self._rows_of: RowsOf | None = None
        self._rows_made = 0
        self._unet: nn.Module | None = None
        self._hooks = ExitStack()
        self._pass: _HeardPass | None = None

    def start(self, unet: nn.Module) -> None:
        """Listen to a UNet, and no longer to the one before: refiners replace it midway.

        Raises:
            UnsupportedModelError: Its taps cannot be found.
        """
        if unet is self._unet:
            return
        self.stop()
        self._taps_of(unet)
        before = unet.register_forward_pre_hook(self._before_pass, with_kwargs=True)
        self._hooks.callback(before.remove)
        after = unet.register_forward_hook(self._after_pass, always_call=True)
        self._hooks.callback(after.remove)
        self._unet = unet

    def stop(self) -> None:
        """Take all hooks away; what was heard stays."""
        self._forget_pass()
        self._hooks.close()
        self._unet = None

    def begin_step(self, step: Any) -> None:
        """Note that the denoiser begins a step, of one pass or several."""
        try:
            self._rows_of, self._rows_made = self._prompts_of(step), 0
        except Exception as error:  # whatever it is, the picture comes first
            self._rows_of = None
            self._fall_silent(error)

    def features_of(self, picture: int) -> Features | Missing:
        """What was heard of one picture of the batch, on the CPU, or why there is nothing."""
        found = self._nearest[picture] if picture < len(self._nearest) else None
        if found is not None:
            return found
        if self._silence:
            return Missing(f"listening failed while sampling ({self._silence})")
        if not any(map(self._aim.takes, self._timesteps)):
            return Missing(why_none(self._timesteps, self._aim.window))
        return Missing("no pass in the window was of the prompt and the whole picture")

    def _before_pass(
        self, unet: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any]
    ) -> None:
        try:
            self._forget_pass()
            if self._rows_of is not None:
                self._listen(unet, self._rows_of, *_inputs(arguments, named))
        except Exception as error:  # whatever it is, the picture comes first
            self._fall_silent(error)

    def _after_pass(self, unet: nn.Module, arguments: tuple[Any, ...], output: object) -> None:
        heard, self._pass = self._pass, None
        try:
            if heard is not None:
                heard.hooks.close()
                self._keep(heard)
        except Exception as error:
            self._fall_silent(error)

    def _listen(
        self,
        unet: nn.Module,
        rows_of: RowsOf,
        x: Tensor,
        timesteps: Tensor,
        options: Mapping[str, Any],
    ) -> None:
        passed = Pass(self._rows_made, len(x), float(timesteps.reshape(-1)[0]), options)
        self._rows_made += len(x)
        self._timesteps.append(passed.timestep)
        if not self._aim.takes(passed.timestep) or tuple(x.shape[-2:]) != self._size:
            return
        wanted = {
            picture: row
            for picture, row in enumerate(rows_of(passed))
            if row is not None and self._aim.prefers(passed.timestep, self._nearest[picture])
        }
        if wanted:
            hooks = ExitStack()
            capture = hooks.enter_context(capturing(unet, self._taps_of(unet)))
            self._pass = _HeardPass(capture, hooks, passed.timestep, passed.count, wanted)

    def _forget_pass(self) -> None:
        """Take the hooks of a pass away that did not come to its end."""
        if self._pass is not None:
            with suppress(CaptureError):
                self._pass.hooks.close()
            self._pass = None

    def _keep(self, heard: _HeardPass) -> None:
        heard.capture.check_sizes(heard.count, self._size)
        for picture, row in heard.rows.items():
            found = heard.capture.features(heard.timestep, "sampling", slice(row, row + 1))
            blocks = {tap: kept_on_cpu(tap, rows) for tap, rows in found.blocks.items()}
            self._nearest[picture] = Features(blocks, found.timestep, found.source)

    def _fall_silent(self, error: Exception) -> None:
        logging.getLogger(__name__).warning("LD-ZNet: %s", error)
        is_ours = isinstance(error, CaptureError)
        self._silence = str(error) if is_ours else f"{type(error).__name__}: {error}"


def _inputs(
    arguments: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[Tensor, Tensor, Mapping[str, Any]]:
    """The noisy latents, the timesteps and the options that a UNet is called with."""
    x, timesteps = (*arguments, *(named[name] for name in ("x", "timesteps") if name in named))[:2]
    return x, timesteps, named.get("transformer_options") or {}
