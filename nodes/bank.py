"""Where captured features wait for the node that asks for them: found by the very latents.

ComfyUI caches a sampler's LATENT for as long as it likes, and any number of samplers may share a
model. So features are kept apart from the graph, each picture's under a digest of its latents.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor

from ..ldznet_core import Features

LIMIT_BYTES = 256 * 2**20
"""Some 90 pictures of SD 1.x at 512 pixels in half precision."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there are no features of a picture."""

    reason: str
    """A clause for the user, such as "sampling made no pass in the window"."""


NEVER_SEEN = Missing(
    "no sampler returned these very latents after LD-ZNet Capture, or it was too long ago"
)


class Bank:
    """The latest captured features within a bound, by the latents of their pictures."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        """Open an empty bank; what was used longest ago leaves first."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[str, Features | Missing] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, latents: Tensor, found: Features | Missing) -> None:
        """Keep what was captured of a picture, in the place of anything known of it.

        Args:
            latents: ``(1, C, h, w)``, as the sampler returned them.
            found: Its features on the CPU, one row, or why there are none.
        """
        key = _digest(latents)
        with self._lock:
            self._drop(key)
            self._entries[key] = found
            self.used_bytes += _bytes_of(found)
            while self.used_bytes > self.limit_bytes or len(self) > _MOST_ENTRIES:
                self._drop(next(iter(self._entries)))

    def get(self, latents: Tensor) -> Features | Missing:
        """What was captured of the picture with these latents, ``(1, C, h, w)``."""
        key = _digest(latents)
        with self._lock:
            if key not in self._entries:
                return NEVER_SEEN
            self._entries.move_to_end(key)
            return self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: str) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self.used_bytes -= _bytes_of(found)


BANK = Bank()
"""The one of this process."""

_MOST_ENTRIES = 4096  # for those without features, which weigh nothing


def _digest(latents: Tensor) -> str:
    values = latents.detach().cpu().float().contiguous()
    hasher = hashlib.blake2b(repr(tuple(values.shape)).encode(), digest_size=16)
    hasher.update(values.numpy().tobytes())
    return hasher.hexdigest()


def _bytes_of(found: Features | Missing) -> int:
    if isinstance(found, Missing):
        return 0
    return sum(block.numel() * block.element_size() for block in found.blocks.values())
