"""One damaged file after the other through every loader, in a process that may die of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

MIB = 2**20
MEMORY_LIMIT = 6 * 2**30
"""Address space that a file may take besides what the process has: more is a refused allocation."""

PEAK_LIMIT = 512 * MIB
"""Memory that trying a file may take; the files themselves have less than 10 MiB."""

LONGEST_SENTENCE = 6000
"""Characters; an error may list names, and a hostile file may have long ones."""


@dataclass(slots=True)
class Result:
    """What became of a file."""

    number: int
    kind: str
    damage: str
    outcomes: dict[str, str] = field(default_factory=dict)
    """By loader: "loaded", or the sentence with which it was refused."""
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_bytes: int = 0


def try_file(number: int, seed: int, valid: Path) -> Result:
    """Make a damaged file and try it."""
    from .cases import make_case

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        canary = folder / "canary"
        case = make_case(number, seed, valid, folder, f'echo sung > "{canary}"')
        result = Result(number, case.kind, case.damage)
        _reset_peak()
        before, started = _memory("VmRSS"), time.perf_counter()
        for loader, load in case.loaders.items():
            _try(loader, load, result)
            if result.outcomes.get("convert_checkpoint", "loaded") != "loaded":
                result.failures += [f"left {path.name}" for path in folder.glob("converted/*")]
        result.seconds = time.perf_counter() - started
        result.peak_bytes = max(0, _memory("VmHWM") - before)
        if canary.exists():
            result.failures.append("executed its payload")
        if result.peak_bytes > PEAK_LIMIT:
            result.failures.append(f"took {result.peak_bytes / MIB:.0f} MiB")
    return result


def _try(loader: str, load: Callable[[], object], result: Result) -> None:
    from ldznet_core import LDZNetError

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load()
        result.warnings += [str(each.message)[:200] for each in caught]
    except LDZNetError as error:
        sentence = str(error)
        result.outcomes[loader] = sentence
        if "\n" in sentence.strip() or not 20 < len(sentence) < LONGEST_SENTENCE:
            result.failures.append(f"{loader}: no sentence, but {sentence[:300]!r}")
    except BaseException as error:
        result.outcomes[loader] = f"{type(error).__name__}: {error}"[:300]
        result.failures.append(f"{loader}: {traceback.format_exc()[-3000:]}")
    else:
        result.outcomes[loader] = "loaded"


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM begins anew


def _memory(what: str) -> int:
    """Bytes, from Linux's books; 0 where there are none."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{what}:\s*(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def _limit_memory() -> None:
    """Let this process, where it can be done, take no more than a file may cost; no core dumps."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if size := _memory("VmSize"):
        limit = size + MEMORY_LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def serve(seed: int, valid: Path) -> None:
    """Try the files whose numbers come line by line; a line of JSON for each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    import torch

    from . import cases

    torch.set_num_threads(1)
    assert cases.KINDS  # everything is imported before memory is counted
    _limit_memory()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(asdict(try_file(int(line), seed, valid))), file=answers, flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
