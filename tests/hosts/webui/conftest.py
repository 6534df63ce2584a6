"""Real WebUIs, one per kind and set of flags, started when first asked for."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .client import Client
from .hosts import NO_HOST, Host, Kind, NoPythonError, find_host
from .rig import Server, running

Start = Callable[..., Server]

SECOND = "second"
"""The name under which the miniature lies beside itself once more."""


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature as a checkpoint of A1111, in a folder with a copy of another name."""
    from ldznet_core.miniature.export import export_miniature

    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoint = export_miniature(folder, "webui")[0]
    for ending in (".safetensors", ".yaml"):
        shutil.copy(checkpoint.with_suffix(ending), folder / f"{SECOND}{ending}")
    return checkpoint


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A function that returns a server for a checkpoint and flags, the same for the same asking."""
    servers: dict[tuple[Kind, Path | None, tuple[str, ...]], Server] = {}
    with contextlib.ExitStack() as stack:

        def start(kind: Kind, checkpoint: Path | None, *flags: str) -> Server:
            if (kind, checkpoint, flags) not in servers:
                base = tmp_path_factory.mktemp(kind)
                host = _host(kind)
                try:
                    server = stack.enter_context(running(host, base, checkpoint, flags))
                except NoPythonError as error:
                    pytest.skip(str(error))
                servers[kind, checkpoint, flags] = server
            servers[kind, checkpoint, flags].check_alive()
            return servers[kind, checkpoint, flags]

        yield start


@pytest.fixture(scope="session")
def server(start: Start, miniature: Path) -> Server:
    """A1111 with the miniature."""
    return start("webui", miniature)


@pytest.fixture(scope="session")
def client(server: Server) -> Client:
    """A user of that server."""
    return server.client()


def _host(kind: Kind) -> Host:
    host = find_host(kind)
    if host is None:
        pytest.skip(NO_HOST[kind])
    return host
