"""A real ComfyUI without a browser: started in a folder of its own, and surely stopped."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .client import Client
from .graph import ObjectInfo
from .hosts import PROJECT, Host, HostPython, find_python

SECONDS_TO_START = 240
PACK = "ldznet"
"""The pack's name among the custom nodes."""

_HERE = Path(__file__).resolve().parent
_FLAGS = (
    "--cpu",
    "--use-pytorch-cross-attention",  # five times as fast on a CPU
    "--disable-api-nodes",
    "--disable-auto-launch",
    "--disable-metadata",
    "--database-url=sqlite:///:memory:",
)
_FOLDERS = ("models", "input", "output", "temp", "user", "custom_nodes")
_NOT_COPIED = shutil.ignore_patterns(".*", "tests", "docs", "__pycache__", "*.part", "venv")


class ServerError(Exception):
    """The server did not start, or is gone; the message ends with its log's last lines."""


class Server:
    """A running ComfyUI."""

    def __init__(self, host: Host, base: Path, address: str, process: subprocess.Popen[bytes]):
        self.host, self.base, self.address = host, base, address
        self._process = process
        self._object_info: ObjectInfo | None = None

    @property
    def log(self) -> str:
        """Everything that the server has said so far."""
        return (self.base / "server.log").read_text(encoding="utf-8", errors="replace")

    @property
    def process_id(self) -> int:
        """The server's process."""
        return self._process.pid

    def client(self) -> Client:
        """Return a new client of this server."""
        client = Client(self.address, self._object_info)
        self._object_info = client.object_info()
        return client

    def check_alive(self) -> None:
        """Raise if the process has ended."""
        if self._process.poll() is not None:
            status = self._process.returncode
            raise ServerError(f"ComfyUI ended with status {status}; its log ends:\n{self.tail()}")

    def tail(self, lines: int = 40) -> str:
        """Return the log's last lines."""
        return "\n".join(self.log.splitlines()[-lines:])

    def wait_until_up(self) -> None:
        """Return once the server answers; raise if it ends before that, or takes too long."""
        give_up = time.monotonic() + SECONDS_TO_START
        while not _answers(f"http://{self.address}/system_stats"):
            self.check_alive()
            if time.monotonic() > give_up:
                raise ServerError(
                    f"ComfyUI did not answer within {SECONDS_TO_START} s; its log ends:\n"
                    + self.tail()
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End the process; a second call does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        if self._process.stdin is not None:
            self._process.stdin.close()


@contextlib.contextmanager
def running(host: Host, base: Path, flags: Sequence[str] = ()) -> Iterator[Server]:
    """Run a host with this project and the tests' support pack as its custom nodes.

    It ends with the block, with this Python, and even when this Python is killed: the support pack
    ends the server as soon as the other end of its standard input is gone.

    Args:
        host: What to run.
        base: An empty folder for all that it reads and writes.
        flags: More arguments, such as ``--cache-none``.
    """
    python = find_python(host)
    for name in _FOLDERS:
        (base / name).mkdir(parents=True)
    _install(PROJECT, base / "custom_nodes" / PACK)
    _install(_HERE / "support_pack", base / "custom_nodes" / "ldznet_test_support")
    server = _start(host, python, base, flags)
    atexit.register(server.stop)
    try:
        server.wait_until_up()
        yield server
    finally:
        server.stop()
        atexit.unregister(server.stop)


def host_environment(python: HostPython) -> dict[str, str]:
    """Return the environment variables for a host's Python: this process's, less its own path."""
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    environment.pop("PYTHONPATH", None)  # it would show the host a second ldznet_core
    if not python.has_torchvision:
        environment["PYTHONPATH"] = str(_HERE / "stand_in")
    return environment


def found_inside(host: Host, script: str, *arguments: object) -> Any:
    """Return what a script of `inside` found: the JSON of its last line.

    It runs in a process of the host's Python, and is told the folders of host and project first.

    Raises:
        NoPythonError: The host has no Python that can run it.
    """
    python = find_python(host)
    told = [_HERE / "inside" / script, host.folder, PROJECT, *arguments]
    done = subprocess.run(
        [str(python.path), *map(str, told)],
        env=host_environment(python),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _start(host: Host, python: HostPython, base: Path, flags: Sequence[str]) -> Server:
    port = _free_port()
    command = [str(python.path), str(host.folder / "main.py"), *_FLAGS, *flags]
    command += ["--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base)]
    if not python.has_frontend:
        command += ["--front-end-root", str(_empty_frontend(base))]
    with (base / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=host.folder,
            env=host_environment(python) | {"LDZNET_TESTS_BASE": str(base)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Server(host, base, f"127.0.0.1:{port}", process)


def _install(source: Path, target: Path) -> None:
    """Link a pack into a host, or copy it where the system refuses links."""
    try:
        target.symlink_to(source, target_is_directory=True)
    except OSError:
        shutil.copytree(source, target, ignore=_NOT_COPIED)


def _empty_frontend(base: Path) -> Path:
    folder = base / "no_frontend"
    folder.mkdir()
    (folder / "index.html").write_text("<p>No front end in these tests.", encoding="utf-8")
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
