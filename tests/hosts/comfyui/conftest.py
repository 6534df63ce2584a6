"""Real ComfyUI servers, one per version and set of flags, started when first asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from .client import Client
from .hosts import NO_HOST, Host, NoPythonError, find_hosts
from .rig import Server, running

HOSTS = find_hosts()

Start = Callable[..., Server]


def _parameters(hosts: list[Host]) -> list[object]:
    """The newest version for every run, older ones for `-m slow`."""
    newest = [pytest.param(host, id=host.version) for host in hosts[:1]]
    older = [pytest.param(host, id=host.version, marks=pytest.mark.slow) for host in hosts[1:]]
    return [*newest, *older] or [
        pytest.param(None, id="no-host", marks=pytest.mark.skip(reason=NO_HOST))
    ]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A function that returns a server for a host and flags, the same one for the same asking."""
    servers: dict[tuple[Host, tuple[str, ...]], Server] = {}
    with contextlib.ExitStack() as stack:

        def start(host: Host, *flags: str) -> Server:
            if (host, flags) not in servers:
                base = tmp_path_factory.mktemp(f"comfyui-{host.version}-")
                try:
                    server = stack.enter_context(running(host, base, flags))
                except NoPythonError as error:
                    pytest.skip(str(error))
                servers[host, flags] = server
            servers[host, flags].check_alive()
            return servers[host, flags]

        yield start


@pytest.fixture(scope="session", params=_parameters(HOSTS))
def every_server(request: pytest.FixtureRequest, start: Start) -> Server:
    """A server of each version of ComfyUI on this machine, of the older ones with `-m slow`."""
    return start(request.param)


@pytest.fixture(scope="session", params=_parameters(HOSTS[:1]))
def server(request: pytest.FixtureRequest, start: Start) -> Server:
    """A server of the newest version of ComfyUI that is on this machine."""
    return start(request.param)


@pytest.fixture
def every_client(every_server: Server) -> Iterator[Client]:
    """A user of a server of each version."""
    with contextlib.closing(every_server.client()) as client:
        yield client


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A user of the newest version's server."""
    with contextlib.closing(server.client()) as client:
        yield client
