"""Two ways of doing a thing, run in turn: the ratio of their times, and what memory they take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Ratio:
    """What a comparison gave."""

    name: str
    seconds: float
    """Of the way that is examined, the median: CPU seconds, or those of a CUDA device."""
    reference_seconds: float
    """Of the way that it is compared with, likewise."""
    ratio: float
    """The median of the pairs' ratios."""
    peak_gib: float | None
    """The most memory of a CUDA device that tensors took while the way that is examined ran, with
    weights and whatever else was there; None on the CPU, where only a whole process tells."""
    reference_peak_gib: float | None
    """The same of the way that it is compared with."""


def compare(
    name: str,
    examined: Callable[[], object],
    reference: Callable[[], object],
    pairs: int,
    device: torch.device = _CPU,
) -> Ratio:
    """Run both ways in turn, each pair in the other order, after one run of each to warm up.

    Args:
        name: Of the comparison.
        examined: The one way.
        reference: The other.
        pairs: How often both are run.
        device: Where they work: the CPU, or a CUDA device.
    """
    ways = (examined, reference)
    measure = partial(_on_cuda, device) if device.type == "cuda" else _on_cpu
    runs: tuple[list[_Run], list[_Run]] = ([], [])
    with torch.inference_mode():
        for way in ways:
            way()
        for pair in range(pairs):
            for index in (0, 1) if pair % 2 else (1, 0):
                runs[index].append(measure(ways[index]))
    seconds = [[run.seconds for run in each] for each in runs]
    ratios = [one / other for one, other in zip(*seconds, strict=True)]
    peaks = [max((run.peak_gib for run in each if run.peak_gib), default=None) for each in runs]
    medians = [statistics.median(each) for each in seconds]
    return Ratio(name, medians[0], medians[1], statistics.median(ratios), peaks[0], peaks[1])


@dataclass(frozen=True, slots=True)
class _Run:
    seconds: float
    peak_gib: float | None = None


def _on_cpu(way: Callable[[], object]) -> _Run:
    began = time.process_time()
    way()
    return _Run(time.process_time() - began)


def _on_cuda(device: torch.device, way: Callable[[], object]) -> _Run:
    """A run on a device where work is only queued, so that a clock beside it tells nothing."""
    with torch.cuda.device(device):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        began, ended = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's own
            for _ in range(2)
        )
        began.record()
        way()
        ended.record()
        torch.cuda.synchronize()
        return _Run(began.elapsed_time(ended) / 1000, torch.cuda.max_memory_allocated() / 2**30)
