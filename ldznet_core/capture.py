"""Features taken out of a UNet while it runs, without touching what flows through it."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from .errors import CaptureError, InputError
from .taps import Taps

Source: TypeAlias = Literal["sampling", "probe"]
"""Whether the host's own sampling gave the features, or an extra pass of ours."""

WINDOW = (300.0, 500.0)
"""The timesteps whose features tell most about a picture (arXiv 2303.12343, section 3.2)."""

BEST_TIMESTEP = 400.0
"""In the middle of them, where the paper's head looks."""


_NO_MEMORY = (
    "expected memory for copies of features, but it ran out: make fewer or smaller pictures at once"
)


@dataclass(frozen=True, eq=False)  # without slots, which would forbid weak references
class Features:
    """What the taps gave in one pass of a UNet."""

    blocks: Mapping[Any, Tensor]
    """Feature maps ``(B, C, h, w)`` by block number; or what else was tapped, by its key."""
    timestep: float
    """Where on the noise schedule the pass was, 0 to 999."""
    source: Source


def blocks_of(features: Features | Mapping[Any, Tensor] | None) -> Mapping[Any, Tensor]:
    """What a caller gave, by block number or key; of nothing, nothing.

    Raises:
        InputError: It is neither of them.
    """
    if features is None:
        return {}
    blocks = features.blocks if isinstance(features, Features) else features
    if not isinstance(blocks, Mapping):
        raise InputError(
            f"expected features by block number, got {type(blocks).__name__}: pass what a capture "
            "or a probe gave"
        )
    return blocks


class Aim(NamedTuple):
    """Which passes of a sampler are captured for a head."""

    timestep: float
    """The nearer to it, the better."""
    window: tuple[float, float]
    """The first and the last timestep of passes that will do."""

    def takes(self, timestep: float) -> bool:
        """Whether a pass at this timestep will do."""
        return is_in_window(timestep, self.window)

    def distance(self, timestep: float) -> float:
        """How far from the best timestep another one is."""
        return abs(timestep - self.timestep)

    def prefers(self, timestep: float, found: Features | None) -> bool:
        """Whether a pass at this timestep is better than what was found so far."""
        return found is None or self.distance(timestep) < self.distance(found.timestep)

    def nearest(self, captured: Iterable[Features]) -> Features | None:
        """Of what was captured, the best that will do; None if nothing will."""
        fitting = (each for each in captured if self.takes(each.timestep))
        return min(fitting, key=lambda each: self.distance(each.timestep), default=None)


EARLY = Aim(BEST_TIMESTEP, WINDOW)
"""For heads that have learned from the paper's timesteps."""

LATE = Aim(100.0, (0.0, WINDOW[0]))
"""For heads that look where little noise is left: while a picture is sampled they see best in the
last passes what it has become (docs/results.md)."""

AIMS = (EARLY, LATE)


def aim_of(timestep: float) -> Aim:
    """Which passes are captured for a head that makes its probes at a timestep."""
    return LATE if timestep < WINDOW[0] else EARLY


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is nothing of a kind of a picture, such as features."""

    reason: str
    """A clause for the user, such as "sampling made no pass in the window"."""


def is_in_window(timestep: float, window: tuple[float, float] = WINDOW) -> bool:
    """Whether what is captured at this timestep is worth having; both ends count."""
    return window[0] <= timestep <= window[1]


def why_none(timesteps: Sequence[float], window: tuple[float, float] = WINDOW) -> str:
    """Why sampling that made passes at these timesteps left nothing: a clause for the user."""
    if not timesteps:
        return "sampling made no pass of this UNet"
    visited = ", ".join(f"{t:.0f}" for t in sorted(set(timesteps), reverse=True)[:12])
    return f"sampling made no pass {describe_window(window)} (it made {visited})"


def describe_window(window: tuple[float, float]) -> str:
    """A window in words.

    >>> describe_window((300, 500))
    'at a timestep from 300 to 500'
    """
    return f"at a timestep from {window[0]:.0f} to {window[1]:.0f}"


class Capture(Mapping[Any, Tensor]):
    """What the taps gave in one pass, by block number or key, filled as the UNet runs."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps
        self._blocks: dict[Any, Tensor] = {}
        self._passes: Counter[Any] = Counter()
        self._lacks_memory = False

    @property
    def blocks(self) -> Mapping[Any, Tensor]:
        """What was taken so far, of the first pass: copies, cut off from autograd."""
        return dict(self._blocks)

    def features(self, timestep: float, source: Source, rows: slice | None = None) -> Features:
        """The features of the pass.

        Args:
            timestep: Where on the noise schedule the pass was, 0 to 999.
            source: Where the pass came from.
            rows: The rows of the batch to keep, such as the half with the prompt, in memory of
                their own; None keeps all.

        Raises:
            CaptureError: A tap stayed silent or fired more than once, or memory ran out.
        """
        self.check()
        try:
            blocks = {block: _rows_alone(self._blocks[block], rows) for block in self._taps}
        except torch.cuda.OutOfMemoryError as error:
            raise CaptureError(_NO_MEMORY) from error
        return Features(blocks, float(timestep), source)

    def check(self) -> None:
        """Make sure that every tap gave one feature map.

        Raises:
            CaptureError: One did not; the message names it. Or there was no memory for them.
        """
        if self._lacks_memory:
            raise CaptureError(_NO_MEMORY)
        for block, tap in self._taps.items():
            place = f"tap {block} ({tap.name})"
            if self._passes[block] == 0:
                raise CaptureError(
                    f"expected one pass through {place}, but it stayed silent: run this very UNet, "
                    "uncompiled, inside the `with` block"
                )
            if self._passes[block] > 1:
                raise CaptureError(
                    f"expected one pass through {place}, but it fired {self._passes[block]} times: "
                    "open a `with` block for each pass"
                )
            if block not in self._blocks:
                wanted = "a feature map (B, C, h, w)" if tap.axes == 4 else "tokens (B, N, C)"
                raise CaptureError(
                    f"expected {wanted} from {place}, got something else: use a UNet of SD 1.x"
                )

    def check_sizes(self, rows: int, size: tuple[int, int]) -> None:
        """Make sure that what was taken shows whole pictures, each of its own size.

        Hosts have extensions that cut pictures into tiles inside the UNet, shrink them there, or
        merge their positions.

        Args:
            rows: Of the pass.
            size: (h, w) of its latents.

        Raises:
            CaptureError: A tap gave other rows, or fewer positions.
        """
        for block, taken in self._blocks.items():
            tap = self._taps[block]
            grid = tuple(-(-side // tap.downscale) for side in size)
            positions = tuple(taken.shape[2:]) if tap.axes == 4 else (taken.shape[1],)
            if len(taken) != rows:
                raise CaptureError(
                    f"expected {rows} rows from tap {block}, got {len(taken)}: turn off what cuts "
                    "pictures into tiles inside the UNet, such as HyperTile"
                )
            if math.prod(positions) < math.prod(grid):
                raise CaptureError(
                    f"expected {grid[0]}x{grid[1]} positions from tap {block}, got "
                    f"{'x'.join(map(str, positions))}: turn off what shrinks pictures inside the "
                    "UNet, such as Deep Shrink, or let it end sooner"
                )

    def record(self, block: Any, output: object) -> None:
        """Keep a copy of what a tap gave, if this is its first pass and there is memory for it.

        A pass is never ended for want of memory here: the picture is worth more than its masks.
        """
        self._passes[block] += 1
        feature_map = _tensor(output, self._taps[block].axes)
        if self._passes[block] > 1 or feature_map is None or self._lacks_memory:
            return
        try:
            self._blocks[block] = feature_map.detach().clone()
        except torch.cuda.OutOfMemoryError:
            self._blocks.clear()
            self._lacks_memory = True

    def __getitem__(self, block: Any) -> Tensor:
        return self._blocks[block]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)


@contextmanager
def capturing(
    unet: nn.Module, taps: Taps, *, stop_after_last: bool = False, this_thread: bool = False
) -> Iterator[Capture]:
    """Capture the features of the one pass that the UNet makes inside the `with` block.

    The pass itself is unchanged, bit for bit, and the UNet is left as found however the block
    ends. An error raised inside the block goes through as it is.

    Args:
        unet: The UNet that will run.
        taps: Where to take features, from `find_taps` on this UNet.
        stop_after_last: End the pass, and with it the `with` block, once the last tap has fired;
            what follows the pass inside the block does not run.
        this_thread: Leave out passes that other threads make of the same UNet meanwhile.

    Yields:
        The capture, complete once the block has ended.

    Raises:
        InputError: The taps are of another UNet.
        CaptureError: At the end of the block, a tap had stayed silent or fired more than once.
    """
    _check_owner(unet, taps)
    capture = Capture(taps)
    thread = threading.get_ident() if this_thread else None
    last = list(taps)[-1] if taps else None
    with ExitStack() as hooks:
        try:
            for block, tap in taps.items():
                ends_pass = stop_after_last and block == last
                hook = _hook(capture, block, thread, ends_pass=ends_pass)
                hooks.callback(tap.module.register_forward_hook(hook).remove)
            yield capture
        except _PassEnded as ended:
            if ended.capture is not capture:
                raise
    capture.check()


class _PassEnded(BaseException):
    """Ends a pass early; no `Exception`, so that no host's own handler takes it for a failure."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture


def _hook(
    capture: Capture, block: Any, thread: int | None, *, ends_pass: bool
) -> Callable[[nn.Module, tuple[object, ...], object], None]:
    """What records a tap, of a single thread's passes if one is given."""

    def record(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if thread not in (None, threading.get_ident()):
            return
        capture.record(block, output)
        if ends_pass:
            raise _PassEnded(capture)

    return record


def _rows_alone(rows_of_all: Tensor, rows: slice | None) -> Tensor:
    """Some rows, copied: a view would keep the memory of the others."""
    wanted = rows_of_all if rows is None else rows_of_all[rows]
    return wanted if len(wanted) == len(rows_of_all) else wanted.clone()


def _tensor(output: object, axes: int) -> Tensor | None:
    """What a tap gave as a tensor of so many axes: diffusers may wrap it."""
    if isinstance(output, tuple) and output:
        output = output[0]
    output = getattr(output, "sample", output)
    return output if isinstance(output, Tensor) and output.ndim == axes else None


def _check_owner(unet: nn.Module, taps: Taps) -> None:
    for block, tap in taps.items():
        try:
            is_there = unet.get_submodule(tap.name) is tap.module
        except AttributeError:
            is_there = False
        if not is_there:
            raise InputError(
                f"expected taps of this UNet, but tap {block} ({tap.name}) is of another: "
                "call find_taps on this one"
            )
