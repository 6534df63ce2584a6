"""Tries damaged files on everything that loads files: ``python -m tests.fuzz.loaders``.

Each file is valid but for one damage, or hostile from the start. Every loader has to load it or to
refuse it in one sentence: no other error, no crash, nothing executed, nothing left behind, memory
and time bounded. The exit status says whether all did.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from .trial import MIB, Result, try_file

ROOT = Path(__file__).parents[2]
TIME_LIMIT = 30.0
"""Seconds for a file; most take a tenth of one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other files")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--only", type=int, help="a single file by its number, told in full")
    parser.add_argument("--sentences", action="store_true", help="print every kind of refusal")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        valid = Path(name)
        _write_seeds(valid)
        if options.only is not None:
            result = try_file(options.only, options.seed, valid)
            print(json.dumps(_told(result), indent=2))
            return bool(result.failures)
        started = time.perf_counter()
        results = run(range(options.files), options.seed, valid, options.workers)
        seconds = time.perf_counter() - started
    print(report(results, seconds))
    if options.sentences:
        print(sentences(results))
    return any(result.failures for result in results)


def _write_seeds(valid: Path) -> None:
    from .seeds import write_seeds

    write_seeds(valid)


def run(numbers: Sequence[int], seed: int, valid: Path, workers: int) -> list[Result]:
    """The results in the order of the numbers."""
    todo: SimpleQueue[int] = SimpleQueue()
    for number in numbers:
        todo.put(number)
    results: list[Result] = []
    threads = [
        threading.Thread(target=lambda: results.extend(_worked_off(todo, seed, valid)))
        for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results, key=lambda result: result.number)


def _worked_off(todo: SimpleQueue[int], seed: int, valid: Path) -> Iterator[Result]:
    """Results from processes, of which a new one is begun whenever one has died."""
    worker: _Worker | None = None
    try:
        while True:
            try:
                number = todo.get_nowait()
            except Empty:
                return
            worker = worker or _Worker(seed, valid)
            result = worker.try_file(number)
            yield result
            if not worker.is_alive:
                worker.end()
                worker = None
    finally:
        if worker is not None:
            worker.end()


class _Worker:
    """A process that tries files."""

    def __init__(self, seed: int, valid: Path) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.trial", str(seed), str(valid)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.is_alive = self._answer() == "ready\n"
        if not self.is_alive:
            raise RuntimeError(f"the worker did not start: {self._said()}")

    def try_file(self, number: int) -> Result:
        """What became of a file; if the process died or hung, that."""
        assert self._process.stdin is not None
        is_late = threading.Event()

        def kill() -> None:
            is_late.set()
            self._process.kill()

        timer = threading.Timer(TIME_LIMIT, kill)
        timer.start()
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        answer = self._answer()
        timer.cancel()
        if answer:
            return Result(**json.loads(answer))
        self.is_alive = False
        status = self._process.wait()
        end = f"hung for {TIME_LIMIT:.0f} s" if is_late.is_set() else f"crashed ({status})"
        return Result(number, "?", "?", failures=[f"{end}: {self._said()}"])

    def end(self) -> None:
        """End the process, if it has not ended."""
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-3000:]


def report(results: Sequence[Result], seconds: float) -> str:
    """What was tried and what became of it, with every failure."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        loaded = [outcome == "loaded" for outcome in result.outcomes.values()]
        verdict = "failed" if result.failures else "loaded" if any(loaded) else "refused"
        kinds[result.kind][verdict] += 1
    lines = [f"{'':<22}{'files':>7}{'refused':>9}{'loaded':>8}{'failed':>8}"]
    for kind, counts in sorted(kinds.items()):
        numbers = (sum(counts.values()), counts["refused"], counts["loaded"], counts["failed"])
        lines.append("{:<22}{:>7}{:>9}{:>8}{:>8}".format(kind, *numbers))
    slowest = max(results, key=lambda result: result.seconds)
    largest = max(results, key=lambda result: result.peak_bytes)
    failed = [result for result in results if result.failures]
    lines += [
        f"{len(results)} files in {seconds:.0f} s, {len(failed)} failures",
        f"slowest: {slowest.seconds:.1f} s ({_told(slowest)['name']})",
        f"largest: {largest.peak_bytes / MIB:.0f} MiB ({_told(largest)['name']})",
    ]
    for warning, count in Counter(said for each in results for said in each.warnings).items():
        lines.append(f"warned {count} times: {warning}")
    for result in failed:
        lines.append(f"\nFAILED {_told(result)['name']}\n" + "\n".join(result.failures))
    return "\n".join(lines)


def sentences(results: Sequence[Result]) -> str:
    """A refusal of every kind of damage by every loader."""
    found: dict[tuple[str, str, str], str] = {}
    for result in results:
        for loader, outcome in result.outcomes.items():
            found.setdefault((result.kind, result.damage, loader), outcome)
    return "\n".join(f"{' / '.join(key)}: {found[key][:400]}" for key in sorted(found))


def _told(result: Result) -> dict[str, object]:
    return {
        "name": f"number {result.number}, {result.kind}: {result.damage}",
        "outcomes": result.outcomes,
        "failures": result.failures,
        "warnings": result.warnings,
        "seconds": result.seconds,
        "peak MiB": result.peak_bytes / MIB,
    }


if __name__ == "__main__":
    sys.exit(main())
