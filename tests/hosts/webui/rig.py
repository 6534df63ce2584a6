"""A real A1111 or Forge on the CPU: started in a folder of its own, and surely stopped."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from .client import Client
from .hosts import PROJECT, Host, find_python

SECONDS_TO_START = 300
EXTENSION = "LD-ZNet"
"""The extension's folder in a host."""

_HERE = Path(__file__).resolve().parent
_FLAGS = {
    "webui": (
        *("--skip-torch-cuda-test", "--use-cpu", "all", "--no-half"),
        *("--no-download-sd-model", "--do-not-download-clip", "--no-prompt-history"),
    ),
    "forge": (
        *("--skip-torch-cuda-test", "--always-cpu", "--skip-prepare-environment"),
        *("--skip-install", "--no-download-sd-model", "--no-prompt-history"),
    ),
}
_IS_UP = "Startup time: "
"""What the hosts log when they have started, and when the UI was reloaded."""
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
_NOT_COPIED = shutil.ignore_patterns(".*", "tests", "docs", "__pycache__", "*.part", "venv", "runs")


class ServerError(Exception):
    """The server did not start, or is gone; the message ends with its log's last lines."""


class Server:
    """A running WebUI."""

    def __init__(self, host: Host, base: Path, port: int, process: subprocess.Popen[bytes]):
        self.host, self.base, self.port = host, base, port
        self._process = process

    @property
    def address(self) -> str:
        """Where it answers, such as ``127.0.0.1:7860``."""
        return f"127.0.0.1:{self.port}"

    @property
    def heads(self) -> Path:
        """The folder in which the extension looks for heads."""
        return self.base / "models" / "ldznet"

    @property
    def log(self) -> str:
        """Everything that the server has said so far."""
        return (self.base / "server.log").read_text(encoding="utf-8", errors="replace")

    def client(self, user: str | None = None) -> Client:
        """Return a new client of this server.

        Args:
            user: Name and password with a colon between them; None to give none.
        """
        return Client(self.address, user)

    def check_alive(self) -> None:
        """Raise if the process has ended."""
        if self._process.poll() is not None:
            status = self._process.returncode
            raise ServerError(f"the host ended with status {status}; its log ends:\n{self.tail()}")

    def tail(self, lines: int = 60) -> str:
        """Return the log's last lines."""
        return "\n".join(self.log.splitlines()[-lines:])

    def wait_until_up(self, starts: int = 1) -> None:
        """Return once the host has started as often as that, and answers.

        Nothing is sent before it says that it has: a request that comes while it still adds its
        API to a server that is already open makes it give up (webui.py in A1111 1.10.1).

        Raises:
            ServerError: The process ended before that, or took too long.
        """
        give_up = time.monotonic() + SECONDS_TO_START
        while self.log.count(_IS_UP) < starts or not self._answers():
            self.check_alive()
            if time.monotonic() > give_up:
                raise ServerError(
                    f"the host did not answer within {SECONDS_TO_START} s; its log ends:\n"
                    + self.tail()
                )
            time.sleep(0.2)

    def reload_ui(self) -> None:
        """Press "Reload UI", and return once the new one answers."""
        starts = self.log.count(_IS_UP)
        self.client().call("/ldztest/reload", {})
        self.wait_until_up(starts + 1)

    def stop(self) -> None:
        """End the process and all that it started; a second call does nothing."""
        if self._process.poll() is None:
            _signal_all(self._process, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                _signal_all(self._process, getattr(signal, "SIGKILL", signal.SIGTERM))
                self._process.wait(10)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _answers(self) -> bool:
        """Whether the support extension does, whose routes come last of all."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.address}/ldztest/state", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextlib.contextmanager
def running(
    host: Host, base: Path, checkpoint: Path | None, flags: Sequence[str] = ()
) -> Iterator[Server]:
    """Run a host with this project and the tests' support extension as its extensions.

    It ends with the block, with this Python, and even when this Python is killed: the support
    extension ends the server as soon as the other end of its standard input is gone.

    Args:
        host: What to run.
        base: An empty folder for all that it reads and writes.
        checkpoint: The model that it loads, from a folder of others that it may switch to; None
            for a host without any.
        flags: More arguments, such as ``--lowvram``.
    """
    python = find_python(host)
    (base / "models" / "Stable-diffusion").mkdir(parents=True)
    _install(PROJECT, base / "extensions" / EXTENSION)
    _install(_HERE / "support_extension", base / "extensions" / "ldznet-test-support")
    model = ["--ckpt", str(checkpoint), "--ckpt-dir", str(checkpoint.parent)] if checkpoint else []
    server = _start(host, python, base, [*model, *flags])
    atexit.register(server.stop)
    try:
        server.wait_until_up()
        yield server
    finally:
        server.stop()
        atexit.unregister(server.stop)


def host_environment(base: Path) -> dict[str, str]:
    """Return the environment variables of a host: this process's, but writing to a folder."""
    environment = {**os.environ, **_OFFLINE, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    # It reads its packages' bytecode, which pip has made; without that a start takes twice as long.
    environment |= {"PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"HF_HOME": str(base / "hf"), "MPLCONFIGDIR": str(base / "mpl")}
    environment |= {"GRADIO_TEMP_DIR": str(base / "gradio")}
    for variable in ("PYTHONPATH", "PYTHONPYCACHEPREFIX", "COMMANDLINE_ARGS", "VIRTUAL_ENV"):
        environment.pop(variable, None)
    return environment


def _start(host: Host, python: Path, base: Path, flags: Sequence[str]) -> Server:
    port = _free_port()
    command = [str(python), "launch.py", *_FLAGS[host.kind], "--api", "--port", str(port)]
    command += ["--data-dir", str(base), *flags]
    with (base / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=host.folder,
            env=host_environment(base) | {"LDZNET_TESTS_BASE": str(base)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(host, base, port, process)


def _install(source: Path, target: Path) -> None:
    """Copy an extension into a host, as a clone would be; a link would bear another's name."""
    shutil.copytree(source, target, ignore=_NOT_COPIED)


def _signal_all(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a process and to those that it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    else:
        process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
