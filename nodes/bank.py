"""Where what was captured waits for the node that asks for it: found by the very latents.

ComfyUI caches a sampler's LATENT for as long as it likes, and any number of samplers may share a
model. So it is kept apart from the graph, each picture's under a digest of its latents.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from ..ldznet_core import Features

LIMIT_BYTES = 256 * 2**20
"""Some 90 pictures of SD 1.x at 512 pixels in half precision."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is nothing of a kind of a picture, such as features."""

    reason: str
    """A clause for the user, such as "sampling made no pass in the window"."""


NEVER_SEEN = Missing(
    "no sampler returned these very latents after LD-ZNet Capture, or it was too long ago"
)

_Kind = TypeVar("_Kind")


def first_found(found: _Kind | Missing, earlier: _Kind | Missing) -> _Kind | Missing:
    """What a run showed, or else what the one showed that it goes on from."""
    return earlier if isinstance(found, Missing) and not isinstance(earlier, Missing) else found


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a run showed of one picture."""

    features: Features | Missing
    """On the CPU, one row."""
    difference: Tensor | Missing = NEVER_SEEN
    """How much the prompt changed the noise at each position, ``(h, w)`` on the CPU."""


class Bank:
    """What was captured lately, within a bound, by the latents of the pictures."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        """Open an empty bank; what was used longest ago leaves first."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[str, Seen] = OrderedDict()
        self._lock = threading.Lock()

    def put(
        self,
        latents: Tensor,
        features: Features | Missing,
        difference: Tensor | Missing = NEVER_SEEN,
    ) -> None:
        """Keep what was captured of a picture, in the place of anything known of it.

        What alone takes more than the bound is not kept, and said to be missing.

        Args:
            latents: ``(1, C, h, w)``, as the sampler returned them.
            features: On the CPU, one row, or why there are none.
            difference: How much the prompt changed the noise, ``(h, w)`` on the CPU, or why nobody
                knows.
        """
        key = _digest(latents)
        seen = Seen(features, difference)
        if _bytes_of(seen) > self.limit_bytes:  # it would drive out all others, and then itself
            megabytes = f"{self.limit_bytes / 2**20:.0f} MB"
            seen = Seen(Missing(f"what was captured of it takes more than {megabytes}"))
        with self._lock:
            self._drop(key)
            self._entries[key] = seen
            self.used_bytes += _bytes_of(seen)
            while self.used_bytes > self.limit_bytes or len(self) > _MOST_ENTRIES:
                self._drop(next(iter(self._entries)))

    def get(self, latents: Tensor) -> Features | Missing:
        """The features of the picture with these latents, ``(1, C, h, w)``."""
        return self.seen(latents).features

    def seen(self, latents: Tensor) -> Seen:
        """All that was captured of the picture with these latents, ``(1, C, h, w)``."""
        key = _digest(latents)
        with self._lock:
            if key not in self._entries:
                return _NOTHING
            self._entries.move_to_end(key)
            return self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: str) -> None:
        seen = self._entries.pop(key, None)
        if seen is not None:
            self.used_bytes -= _bytes_of(seen)


BANK = Bank()
"""The one of this process."""

_NOTHING = Seen(NEVER_SEEN)

_MOST_ENTRIES = 4096  # for those of which nothing was captured, which weigh nothing


def _digest(latents: Tensor) -> str:
    values = latents.detach().cpu().float().contiguous()
    hasher = hashlib.blake2b(repr(tuple(values.shape)).encode(), digest_size=16)
    hasher.update(values.numpy().tobytes())
    return hasher.hexdigest()


def _bytes_of(seen: Seen) -> int:
    blocks = [] if isinstance(seen.features, Missing) else [*seen.features.blocks.values()]
    maps = [] if isinstance(seen.difference, Missing) else [seen.difference]
    return sum(each.numel() * each.element_size() for each in (*blocks, *maps))
