"""``ldznet bench``: the cost of capture, measured in pairs of runs in one process."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from tqdm import tqdm

from ..errors import InputError
from ..miniature import Miniature, load_miniature
from .options import option


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    pairs: int = option(15, "pairs of pictures, one with capture and one without")
    steps: int = option(20, "UNet passes for a picture")


def run(options: Options) -> dict[str, float | bool]:
    """Paint the same picture with and without capture in turn; CPU seconds of the process."""
    if options.pairs < 1:
        raise InputError(f"expected at least one pair, got {options.pairs}: raise --pairs")
    miniature = load_miniature()
    _paint(miniature, options.steps, captures=True)  # warm up
    plain, captured = [], []
    is_same = True
    for pair in tqdm(range(options.pairs), desc="pairs", leave=False):
        order = (False, True) if pair % 2 else (True, False)  # neither is always the first
        made = {captures: _paint(miniature, options.steps, captures=captures) for captures in order}
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


def describe(report: dict[str, float | bool]) -> str:
    """The report as a line."""
    return (
        f"{report['pairs']} pairs: {report['cpu_seconds_plain']:.3f} CPU seconds without capture, "
        f"{report['cpu_seconds_with_capture']:.3f} with it; median ratio {report['ratio']:.4f}; "
        f"latents bit-identical: {report['same_latents']}"
    )


def _paint(miniature: Miniature, steps: int, *, captures: bool) -> tuple[float, torch.Tensor]:
    start = time.process_time()
    made = miniature.generate("a turtle on a beach", steps=steps, captures=captures)
    return time.process_time() - start, made.latents
