"""What the segmenter asks of a head, whoever holds its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from ..taps import Taps
from .config import Reads

HALF_IS_NOT_ENOUGH = (
    "LD-ZNet: half precision is not enough for this head; from now on it runs in float32, in twice "
    "the memory"
)
"""What a host's log says when a head's logits are finite in float32 alone."""


class HeadSettings(Protocol):
    """What the segmenter must know of a head; `HeadConfig` says what each means."""

    @property
    def family(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def reads(self) -> Reads: ...  # noqa: D102
    @property
    def taps(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def probes_once(self) -> bool: ...  # noqa: D102
    @property
    def in_channels(self) -> int: ...  # noqa: D102
    @property
    def image_side(self) -> int: ...  # noqa: D102
    @property
    def timestep(self) -> float: ...  # noqa: D102
    @property
    def template(self) -> str: ...  # noqa: D102
    @property
    def mask_threshold(self) -> float: ...  # noqa: D102
    @property
    def presence_threshold(self) -> float: ...  # noqa: D102


class Head(Protocol):
    """A network of ours, or what a host's memory management wraps around one."""

    @property
    def config(self) -> HeadSettings:
        """Kind, family, what it reads, thresholds."""

    def taps_of(self, unet: nn.Module) -> Taps:
        """Where in a UNet it wants to listen."""

    def __call__(
        self,
        latents: Tensor,
        context: Tensor,
        features: Any = None,
    ) -> Tensor:
        """Logits ``(P, 1, 8h, 8w)``, one row for each phrase.

        Args:
            latents: ``(P, C, h, w)``, or one row for all phrases; clean.
            context: ``(P, T, D)`` text features of the phrases.
            features: The LDM's `Features`, or a mapping by block number, with a row for each phrase
                or one for all; an `Attention` for heads that read that.
        """
