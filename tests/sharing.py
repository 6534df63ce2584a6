"""How tests are shared out among the processes of `python run.py test`."""

from __future__ import annotations

import os

import psutil
from xdist.scheduler import LoadFileScheduling

MOST_WORKERS = 4
BYTES_A_WORKER = 4 << 30
"""What a process may need, together with the real host that it drives."""


def number_of_workers() -> int:
    """How many processes run tests; 0, so that pytest does it alone, where two are too many."""
    room = psutil.virtual_memory().available // BYTES_A_WORKER
    workers = min(os.cpu_count() or 1, room, MOST_WORKERS)
    return workers if workers > 1 else 0


def share_of(test: str) -> str:
    """What a test is not parted from: its file, or all tests of the real host that it drives."""
    file = test.split("::", 1)[0]
    place, kind, host, *_ = [*file.split("/"), "", ""]
    return f"{place}/{kind}/{host}" if kind == "hosts" else file


class FilesAndHosts(LoadFileScheduling):
    """Gives a process whole files, and all tests of one real host, which it starts but once."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)
