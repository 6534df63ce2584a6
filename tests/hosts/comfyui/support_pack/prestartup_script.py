"""What ComfyUI runs before it loads any custom node: the tests' watch over this process.

It ends the process when the tests that started it are gone, and it writes down every file that the
pack under test touches and every connection that it makes, told by who is on the call stack.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_WATCHED = frozenset(
    {
        "open",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.scandir",
        "socket.connect",
        "socket.getaddrinfo",
        "subprocess.Popen",
        "urllib.Request",
    }
)
_inside = threading.local()


def watch(base: str) -> None:
    """Start both watches; `base` is the folder that ComfyUI was given."""
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    pack = os.path.join(base, "custom_nodes", "ldznet") + os.sep
    report = os.open(os.path.join(base, "audit.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event not in _WATCHED or getattr(_inside, "hook", False):
            return
        _inside.hook = True
        try:
            callers = list(_frames())
            ours = [frame for frame in callers if frame.f_code.co_filename.startswith(pack)]
            if ours:
                names = {frame.f_code.co_name for frame in callers}
                line = {
                    "by": f"{ours[0].f_code.co_filename.removeprefix(pack)}:{ours[0].f_lineno}",
                    "event": event,
                    "arguments": [str(argument) for argument in arguments],
                    "while": "import" if "load_custom_node" in names else "run",
                    "imports": "_find_and_load" in names,
                }
                os.write(report, json.dumps(line).encode() + b"\n")
        finally:
            _inside.hook = False

    sys.addaudithook(note)


def _end_with_the_tests() -> None:
    """Wait until nobody holds the other end of standard input, then end."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):  # not sys.stdin, whose lock would trouble an ordinary exit
            pass
    os._exit(1)


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


if "LDZNET_TESTS_BASE" in os.environ:
    watch(os.environ["LDZNET_TESTS_BASE"])
