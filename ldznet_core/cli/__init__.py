"""The command line ``ldznet``: each command is a module with its options and its ``run``.

``run`` gives the report, which ``describe`` puts into words. Of several processes that share the
work all but the main one give None, and print nothing.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from ..errors import LDZNetError
from .extras import INSTALL
from .options import UsageError, parse

COMMANDS = {
    "demo": "paint a picture, mask what phrases name, and inpaint one of the masks",
    "segment": "mask what phrases name in pictures",
    "convert": "turn the authors' checkpoint into a head in one safetensors file",
    "info": "describe a head or another weights file",
    "export-miniature": "write the miniature as a checkpoint that other programs load",
    "train": "train the miniature, stage by stage, or a head for another model",
    "evaluate": "measure the miniature and its head on held-out scenes",
    "probe": "measure which blocks of the UNet know what is where, at which timesteps",
    "study": "train and measure heads of several designs alike, as a table",
    "bench": "measure what capture costs, in pairs of runs",
}
"""Every command and what it does, in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words of the command line; None means the process's own.

    Returns:
        The exit status: 0 on success, 2 on bad input with one line on stderr, 130 on interrupt or
        when it was told to end.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # where a phrase has letters that it does not know
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ended_in_order():
            return _dispatch(words)
    except (UsageError, LDZNetError, OSError) as error:
        return _refused(" ".join(str(error).split()))
    except ModuleNotFoundError as error:
        if (error.name or "ldznet_core").startswith("ldznet_core"):
            raise
        return _refused(
            f"expected the package {error.name}, which this command needs: {INSTALL} '.[cli]', for "
            "training and judges '.[train]'"
        )
    except KeyboardInterrupt:
        return 130


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A request to end (SIGTERM) is an interrupt: what is half-written is taken away first."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _dispatch(words: list[str]) -> int:
    wants_json = "--json" in words
    words = [word for word in words if word != "--json"]
    if words and words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if not words or words[0] not in COMMANDS:
        got = repr(words[0]) if words else "none"
        raise UsageError(
            f"expected a command of {', '.join(COMMANDS)}, got {got}: see `ldznet --help`"
        )
    name, rest = words[0], words[1:]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded at run time
    command = import_module(f".{name.replace('-', '_')}", __name__)
    options = parse(name, COMMANDS[name], command.Options, rest)
    if options is None:
        return 0
    report = command.run(options)
    if report is not None:
        print(json.dumps(report, indent=2) if wants_json else command.describe(report))
    return 0


def _refused(sentence: str) -> int:
    """The exit status of bad input, once it is told."""
    print(f"ldznet: error: {sentence}", file=sys.stderr)
    return 2


def _help() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items())
    return (
        "usage: ldznet COMMAND [options]\n\nMasks from words, read out of the diffusion model that "
        f"paints the picture.\n\n{listed}\n\n`ldznet COMMAND --help` lists a command's options; "
        "--json makes any report machine-readable."
    )
