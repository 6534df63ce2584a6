"""Where what was captured waits for the node that asks for it: found by the very latents.

ComfyUI caches a sampler's LATENT for as long as it likes, and any number of samplers may share a
model. So it is kept apart from the graph, each picture's under a digest of its latents.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias, TypeVar

from torch import Tensor

from ..ldznet_core import Features
from ..ldznet_core.capture import AIMS, EARLY, Aim, Missing

LIMIT_BYTES = 256 * 2**20
"""Of earlier runs and the latest together: some 45 pictures of SD 1.x at 512 pixels."""

RUN_LIMIT_BYTES = 2**30
"""Of the latest run alone, which is kept beyond that: 31 pictures of SDXL at 1024 pixels."""

Heard: TypeAlias = Mapping[Aim, Features | Missing]
"""What was captured of a picture for each kind of head, or why there is nothing."""


NEVER_SEEN = Missing("no sampler returned these very latents after LD-ZNet Capture")

PUSHED_OUT = Missing("what was recorded of it had to make room for newer pictures")

_TOO_LARGE = Missing("what was recorded of its batch took more than a gigabyte")

_Kind = TypeVar("_Kind")


def heard_from(found: Features | Missing) -> Heard:
    """What one pass gave, for those heads that want to see it; or for all why there is nothing."""
    if isinstance(found, Missing):
        return dict.fromkeys(AIMS, found)
    elsewhere = Missing(f"what was recorded of it is from a timestep of {found.timestep:.0f}")
    return {aim: found if aim.takes(found.timestep) else elsewhere for aim in AIMS}


def first_found(found: _Kind | Missing, earlier: _Kind | Missing) -> _Kind | Missing:
    """What a run showed, or else what the one showed that it goes on from."""
    return earlier if isinstance(found, Missing) and not isinstance(earlier, Missing) else found


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a run showed of one picture."""

    heard: Heard
    """On the CPU, one row."""
    difference: Tensor | Missing = NEVER_SEEN
    """How much the prompt changed the noise at each position, ``(h, w)`` on the CPU."""
    clean: Tensor | None = None
    """``(1, C, h, w)`` on the CPU: what the sampler took for the picture that it left in noise."""

    def features(self, aim: Aim) -> Features | Missing:
        """Those for a head that wants to see such passes, or why there are none."""
        return self.heard[aim]


class Picture(NamedTuple):
    """A picture of a run."""

    latents: tuple[Tensor, ...]
    """All by which it may be found, ``(1, C, h, w)`` each."""
    seen: Seen


class Bank:
    """What was captured lately, within a bound, by the latents of the pictures."""

    def __init__(
        self, limit_bytes: int = LIMIT_BYTES, run_limit_bytes: int = RUN_LIMIT_BYTES
    ) -> None:
        """Open an empty bank; what was used longest ago leaves first."""
        self.limit_bytes = limit_bytes
        self.run_limit_bytes = run_limit_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[str, Seen] = OrderedDict()
        self._names: dict[str, str] = {}
        """Other digests of a picture's latents, with that of its entry."""
        self._lock = threading.Lock()

    def put(
        self,
        latents: Tensor,
        features: Features | Missing,
        difference: Tensor | Missing = NEVER_SEEN,
    ) -> None:
        """Keep what was captured of a picture, in the place of anything known of it.

        Args:
            latents: ``(1, C, h, w)``, as the sampler returned them.
            features: Of one pass, on the CPU, one row, or why there are none.
            difference: How much the prompt changed the noise, ``(h, w)`` on the CPU, or why nobody
                knows.
        """
        self.put_run([Picture((latents,), Seen(heard_from(features), difference))])

    def put_run(self, pictures: Iterable[Picture]) -> None:
        """Keep what was captured of the pictures of a run, which push out none of each other.

        Pictures that a run has beyond its own bound are not kept, and said to be missing.
        """
        named = [(list(map(_digest, each.latents)), each.seen) for each in pictures]
        run = {key for (key, *_), _ in named}
        used = 0
        with self._lock:
            for (key, *others), seen in named:
                used += _bytes_of(seen)
                if used > self.run_limit_bytes:
                    seen = replace(seen, heard=heard_from(_TOO_LARGE))
                self._drop(key)
                self._entries[key] = seen
                self.used_bytes += _bytes_of(seen)
                self._names |= dict.fromkeys(others, key)
            self._make_room(run)

    def get(self, latents: Tensor, aim: Aim = EARLY) -> Features | Missing:
        """The features of the picture with these latents, ``(1, C, h, w)``, for a kind of head."""
        return self.seen(latents).features(aim)

    def seen(self, latents: Tensor) -> Seen:
        """All that was captured of the picture with these latents, ``(1, C, h, w)``."""
        digest = _digest(latents)
        with self._lock:
            key = digest if digest in self._entries else self._names.get(digest, digest)
            if key not in self._entries:
                return _NOTHING
            self._entries.move_to_end(key)
            return self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)

    def _make_room(self, run: set[str]) -> None:
        """Take the features of earlier pictures, and then forget the earliest altogether.

        What else was seen of them takes kilobytes each, and is taken only where it fills the bank.
        """
        earlier = [key for key in self._entries if key not in run]
        for key in earlier:
            if self.used_bytes > self.limit_bytes:
                self._lessen(key, _without_features(self._entries[key]))
        of_run = sum(_bytes_of(self._entries[key]) for key in run)
        for key in earlier:
            if self.used_bytes - of_run > self.limit_bytes:
                self._lessen(key, _PUSHED_OUT)
        while len(self) > _MOST_ENTRIES:
            self._drop(next(iter(self._entries)))

    def _lessen(self, key: str, less: Seen) -> None:
        self.used_bytes -= _bytes_of(self._entries[key]) - _bytes_of(less)
        self._entries[key] = less

    def _drop(self, key: str) -> None:
        seen = self._entries.pop(key, None)
        if seen is not None:
            self.used_bytes -= _bytes_of(seen)
            self._names = {name: other for name, other in self._names.items() if other != key}


BANK = Bank()
"""The one of this process."""

_NOTHING = Seen(heard_from(NEVER_SEEN))
_PUSHED_OUT = Seen(heard_from(PUSHED_OUT), PUSHED_OUT)

_MOST_ENTRIES = 4096  # for those of which nothing was captured, which weigh nothing


def _without_features(seen: Seen) -> Seen:
    heard = {
        aim: given if isinstance(given, Missing) else PUSHED_OUT
        for aim, given in seen.heard.items()
    }
    return replace(seen, heard=heard)


def _digest(latents: Tensor) -> str:
    values = latents.detach().cpu().float().contiguous()
    hasher = hashlib.blake2b(repr(tuple(values.shape)).encode(), digest_size=16)
    hasher.update(values.numpy().tobytes())
    return hasher.hexdigest()


def _bytes_of(seen: Seen) -> int:
    found = {each for each in seen.heard.values() if isinstance(each, Features)}
    blocks = [block for features in found for block in features.blocks.values()]
    maps = [] if isinstance(seen.difference, Missing) else [seen.difference]
    clean = [] if seen.clean is None else [seen.clean]
    return sum(each.numel() * each.element_size() for each in (*blocks, *maps, *clean))
