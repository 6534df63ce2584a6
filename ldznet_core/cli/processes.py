"""Work split over the processes of `torchrun` or `accelerate launch`, and brought together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch.distributed

Item = TypeVar("Item")

_PATIENCE = timedelta(days=30)  # the first to finish waits for the last


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that share the work."""

    index: int = 0
    count: int = 1
    index_on_machine: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the one that reports."""
        return self.index == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """The items that fall to this process: every n-th."""
        return list(items[self.index :: self.count])

    def gather(self, item: Item) -> list[Item]:
        """What all processes have, in their order, once all are here; for the main one alone."""
        if self.count == 1:
            return [item]
        gathered: list[Item | None] | None = [None] * self.count if self.is_main else None
        torch.distributed.gather_object(item, gathered)
        return [each for each in gathered or [] if each is not None]


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that a launcher has started; alone where there is none."""
    found = Processes(
        _number("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK"),
        max(1, _number("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")),
        _number("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK"),
    )
    if found.count == 1:
        yield Processes()
        return
    torch.distributed.init_process_group(
        "gloo", rank=found.index, world_size=found.count, timeout=_PATIENCE
    )
    try:
        yield found
    finally:
        torch.distributed.destroy_process_group()


def _number(*names: str) -> int:
    """What a launcher says under any of these names; torch's own, Intel's and Open MPI's."""
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)
