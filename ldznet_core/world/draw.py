"""Chance that falls alike on every machine: draws from Philox's raw, promised-stable stream."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
_UNIT = 2.0**-53
_BATCH = 64


def stable_hash(*words: str | int) -> int:
    """128 bits that depend on the words alone; not Python's `hash`, which changes by process."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


class Draw:
    """A stream of random draws that is named by words, such as ``Draw("small", "train", 7)``.

    NumPy promises its bit generators' raw bits across versions, but not what its `Generator` makes
    of them; here every draw is made from raw bits by exact arithmetic.
    """

    def __init__(self, *words: str | int) -> None:
        """Name the stream; the same words give the same draws."""
        self._bits = np.random.Philox(key=stable_hash(*words))
        self._waiting: list[int] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._waiting:
            self._waiting = self._bits.random_raw(_BATCH).tolist()
        return (self._waiting.pop() >> 11) * _UNIT

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def below(self, end: int) -> int:
        """A whole number in [0, end)."""
        return int(self.unit() * end)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[self.below(len(options))]

    def weighted(self, options: Sequence[tuple[float, T]]) -> T:
        """One of the (weight, option) pairs' options, as likely as its weight says."""
        mark = self.unit() * sum(weight for weight, _ in options)
        for weight, option in options:
            mark -= weight
            if mark < 0:
                return option
        return options[-1][1]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in a random order."""
        result = list(options)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result

    def grid(self, height: int, width: int) -> NDArray[np.float32]:
        """``(height, width)`` numbers in [-1, 1)."""
        raw = self._bits.random_raw(height * width) >> np.uint64(11)
        return (raw * (2 * _UNIT) - 1).astype(np.float32).reshape(height, width)
