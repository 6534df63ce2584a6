"""What holds for every test: no network, no hub, the same chance each time, and who runs it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # networks this small lose time by waiting for threads

_connect = socket.socket.connect


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many processes as this machine's cores and memory are good for."""
    from .sharing import number_of_workers

    return number_of_workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With ``--dist loadfile``, share out whole files, and real hosts as a whole."""
    from .sharing import FilesAndHosts

    return FilesAndHosts(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def same_chance() -> None:
    """Let torch's random numbers be the same, whichever tests ran before in this process."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test reach this machine's own addresses only; anything else fails, and is named."""

    def connect(self: socket.socket, address: object) -> None:
        is_internet = self.family in (socket.AF_INET, socket.AF_INET6)
        host = str(address[0]) if is_internet and isinstance(address, tuple) else ""
        if is_internet and host not in ("localhost", "::1") and not host.startswith("127."):
            raise AssertionError(f"a test wanted to reach {address}; tests have no network")
        _connect(self, address)  # type: ignore[arg-type]  # whatever the caller gave

    monkeypatch.setattr(socket.socket, "connect", connect)
