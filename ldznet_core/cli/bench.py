"""``ldznet bench``: what capture, probes and the head cost, in pairs of runs in one process."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from tqdm import tqdm

from ..auto_head import fitting_head
from ..checkpoint import load_head
from ..devices import checked_device
from ..errors import InputError
from ..miniature import Miniature, load_miniature
from ..segmenter import Segmenter
from .models import DType
from .options import option


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    what: Literal["capture", "networks", "attention"] = option(
        "capture",
        "capture while the miniature paints; or the networks, or masks without a trained head, "
        "at the size of SD 1.x",
    )
    pairs: int = option(15, "pairs of runs")
    steps: int = option(20, "UNet passes for a picture, of capture")
    side: int = option(512, "pixels of the square picture, a multiple of 64, at that size")
    dtype: DType = option("float32", "of the networks at that size")
    device: str = option("cpu", "where they work at that size: cpu, cuda, cuda:1, ...")
    only: str = option("", "at that size: those comparisons alone whose name has this in it")


def run(options: Options) -> dict[str, Any]:
    """Run both sides of each comparison in turn."""
    if options.pairs < 1:
        raise InputError(f"expected at least one pair, got {options.pairs}: raise --pairs")
    return _capture(options) if options.what == "capture" else _at_true_size(options)


def describe(report: dict[str, Any]) -> str:
    """The report as a line, or as a line for each comparison."""
    if "comparisons" not in report:
        return (
            f"{report['pairs']} pairs: {report['cpu_seconds_plain']:.3f} CPU seconds without "
            f"capture, {report['cpu_seconds_with_capture']:.3f} with it; median ratio "
            f"{report['ratio']:.4f}; latents bit-identical: {report['same_latents']}"
        )
    is_cuda = report["device"] != "cpu"
    unit = "GPU s" if is_cuda else "CPU s"
    memory = f" {'GiB':>6} {'against':>8}" if is_cuda else ""
    lines = [f"{'':<37} {'ratio':>6} {unit:>8} {'against':>8}{memory}"]
    for each in report["comparisons"]:
        line = (
            f"{each['name']:<37} {each['ratio']:>6.3f} {each['seconds']:>8.2f} "
            f"{each['reference_seconds']:>8.2f}"
        )
        peaks = f" {each['peak_gib']:>6.2f} {each['reference_peak_gib']:>8.2f}" if is_cuda else ""
        lines.append(line + peaks)
    if report["kept_mb"] is not None:
        lines.append(f"attention kept of a picture: {report['kept_mb']:.1f} MB in float16")
    whole = f"peak memory of the process, all comparisons: {report['peak_gib']:.2f} GiB"
    return "\n".join([*lines, whole])


def _capture(options: Options) -> dict[str, Any]:
    miniature = load_miniature()
    segmenter = Segmenter(miniature, load_head(fitting_head(miniature.family)))
    _paint(miniature, options.steps, segmenter, captures=True)  # warm up
    plain, captured = [], []
    is_same = True
    for pair in tqdm(range(options.pairs), desc="pairs", leave=False):
        order = (False, True) if pair % 2 else (True, False)  # neither is always the first
        made = {
            captures: _paint(miniature, options.steps, segmenter, captures=captures)
            for captures in order
        }
        plain.append(made[False][0])
        captured.append(made[True][0])
        is_same &= torch.equal(made[False][1], made[True][1])
    return {
        "pairs": options.pairs,
        "cpu_seconds_plain": statistics.median(plain),
        "cpu_seconds_with_capture": statistics.median(captured),
        "ratio": statistics.median(one / other for one, other in zip(captured, plain, strict=True)),
        "same_latents": is_same,
    }


def _at_true_size(options: Options) -> dict[str, Any]:
    from ..evaluation.ratios import compare
    from ..evaluation.speed import Bench

    if options.side < 64 or options.side % 64:
        raise InputError(f"expected a multiple of 64 pixels, got {options.side}: change --side")
    device = checked_device(options.device)
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"expected the CPU or a CUDA device, got {device}: change --device")
    bench = Bench(options.side, getattr(torch, options.dtype), device)
    is_attention = options.what == "attention"
    ways_by_name = bench.attention_comparisons() if is_attention else bench.comparisons()
    chosen = {name: ways for name, ways in ways_by_name.items() if options.only in name}
    found = []
    for name, (examined, reference) in tqdm(chosen.items(), desc="comparisons", leave=False):
        bench.forget()
        found.append(asdict(compare(name, examined, reference, options.pairs, device)))
    return {
        "comparisons": found,
        "side": options.side,
        "dtype": options.dtype,
        "device": str(device),
        "kept_mb": bench.kept_bytes() / 1e6 if is_attention else None,
        "peak_gib": _peak(),
    }


def _peak() -> float:
    """The most memory that this process has held, in GiB; NaN where the system does not tell.

    It is of all comparisons so far, for a process cannot forget it: of one alone with --only.
    """
    if sys.platform == "win32":
        return float("nan")
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (2**30 if sys.platform == "darwin" else 2**20)


def _paint(
    miniature: Miniature, steps: int, segmenter: Segmenter, *, captures: bool
) -> tuple[float, torch.Tensor]:
    """CPU seconds and latents of a picture, of which the segmenter's head may capture something."""
    start = time.process_time()
    made = miniature.generate(
        "a turtle on a beach",
        steps=steps,
        captures=captures,
        taps_of=segmenter.head.taps_of,
        window=segmenter.aim.window,
    )
    return time.process_time() - start, made.latents
