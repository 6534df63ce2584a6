"""Large networks that take turns in memory, so that there need be room for the largest only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

Network = TypeVar("Network")


class Turns:
    """Lets at most one of the networks that share it be in memory."""

    def __init__(self) -> None:
        self._current: OnUse[Any] | None = None

    def give(self, network: OnUse[Any]) -> None:
        """Let the network go that was in memory last, unless it is this one."""
        if self._current is not None and self._current is not network:
            self._current.let_go()
        self._current = network


class OnUse(Generic[Network]):
    """A network that is loaded when it is first used, and again after it was let go."""

    def __init__(self, load: Callable[[], Network], turns: Turns | None = None) -> None:
        """Nothing is loaded yet.

        Args:
            load: Gives the network.
            turns: Shared with others that may take its place; None keeps it once it is there.
        """
        self._load = load
        self._turns = turns
        self._network: Network | None = None

    def __call__(self) -> Network:
        """The network, in memory."""
        self.begin()
        if self._network is None:
            with torch.inference_mode(False):  # the same bits as of one that was loaded before
                self._network = self._load()
        return self._network

    def begin(self) -> None:
        """Begin its turn: what it takes the place of leaves memory. It is not loaded yet."""
        if self._turns is not None:
            self._turns.give(self)

    def let_go(self) -> None:
        """Take it out of memory, unless someone else holds on to it."""
        self._network = None
