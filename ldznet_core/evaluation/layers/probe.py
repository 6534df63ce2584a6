"""Where a UNet knows what is where: each block at each timestep, read by a linear probe.

A ridge regression on a block's features tells things from the rest, and each class of things from
all else. It is fitted to some scenes and judged on others. The noisy latents, a UNet that learned
nothing, the VAE's own features, and the truth on coarse grids are judged alike, for comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from statistics import fmean, stdev
from typing import TypeAlias

import torch
from torch import Tensor

from ...metrics.ranking import PixelRanking
from ...miniature import Miniature
from .readers import (
    LEVELS,
    WITHOUT_TIMESTEP,
    Features,
    Key,
    Reader,
    Source,
    read_encoder,
    read_latents,
    read_truth,
    read_unet,
    untrained,
)
from .ridge import Moments, Ridge, choose_penalties, fit, moments
from .scenes import FOREGROUND, GRID, ProbeScenes, Rows

TIMESTEPS = (1, *range(100, 1000, 100))

THRESHOLDS = tuple(round(0.02 * number, 2) for number in range(1, 50))
"""Of masks, among which every layer has one that the last fold chooses."""

FOLDS = 5

Batch: TypeAlias = tuple[Rows, Features]

_CLASSES = slice(FOREGROUND + 1, None)
_STEEPNESS = 8.0  # of the curve that brings predictions, mostly in [0, 1], into it in their order


@dataclass(frozen=True, slots=True)
class Cell:
    """What a layer knows at a timestep; shares in [0, 1], the means over the noises."""

    source: Source
    block: int | None
    """1 to 16; None where the source has none."""
    timestep: int | None
    """None where the source sees no noise."""
    channels: int
    side: int
    """Of its own grid."""
    precision: float
    """Average precision of the foreground, of all held-out scenes' cells together."""
    miou: float
    """The mean over objects, which are each scene's things of one class."""
    precision_spread: float | None
    """The standard deviation over the noises; None of fewer than two."""
    miou_spread: float | None
    threshold: float
    penalty: float
    """Of the foreground's ridge."""


def probe_miniature(
    miniature: Miniature,
    fitting: ProbeScenes,
    judging: ProbeScenes,
    timesteps: Sequence[int],
    seed: int,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> list[Cell]:
    """Every block of the miniature's UNet, and all that it is compared with.

    Args:
        miniature: What is probed.
        fitting: Scenes to fit to.
        judging: Others.
        timesteps: 0 to 999.
        seed: Of the untrained UNet.
        on_rows: Told how many scenes, each under one noise, were read; in all `count_rows`.
    """
    schedule = miniature.schedule
    still = [read_encoder, *(read_truth(level) for level in LEVELS)]
    readings: list[tuple[Reader, int]] = [(read, 0) for read in still]
    for read in (
        read_latents(schedule),
        read_unet(miniature.unet, "unet", schedule),
        read_unet(untrained(miniature.unet, seed), "untrained", schedule),
    ):
        readings += [(read, timestep) for timestep in timesteps]
    return [
        cell
        for read, timestep in readings
        for cell in probe_layers(read, fitting, judging, timestep, on_rows)
    ]


def count_rows(scenes: int, noises: int, timesteps: int) -> int:
    """How many rows `probe_miniature` reads of so many scenes, noises and timesteps."""
    return scenes * noises * (1 + len(LEVELS) + 3 * timesteps)


@torch.inference_mode()
def probe_layers(
    read: Reader,
    fitting: ProbeScenes,
    judging: ProbeScenes,
    timestep: int,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> list[Cell]:
    """What each layer that a reader gives knows at a timestep.

    Folds of the scenes to fit choose the penalties; the last of them, predicted by ridges of the
    others, chooses the threshold before it joins the fit. Of features only sums are kept.

    Args:
        read: Gives the features.
        fitting: Scenes to fit to, at least `FOLDS`.
        judging: Others.
        timestep: 0 to 999.
        on_rows: Told how many scenes, each under one noise, were read.
    """

    def batches(scenes: ProbeScenes, which: range) -> Iterator[Batch]:
        for rows in scenes.batches(which):
            yield rows, read(rows, timestep)
            on_rows(len(rows.truths))

    probes = _fit_probes([batches(fitting, fold) for fold in split(len(fitting))])
    tallies = {key: _Tally() for key in probes}
    for rows, features in batches(judging, range(len(judging))):
        for key, each in features.items():
            tallies[key].add(probes[key], each, rows)
    return [tallies[key].cell(key, timestep, probe) for key, probe in probes.items()]


def split(count: int, folds: int = FOLDS) -> list[range]:
    """The numbers below a count in runs of almost the same length.

    >>> split(7, 3)
    [range(0, 2), range(2, 4), range(4, 7)]
    """
    ends = [count * number // folds for number in range(folds + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


def object_ious(maps: Tensor, truths: Tensor, thresholds: Sequence[float]) -> Tensor:
    """``(objects, thresholds)``: of every class in every scene that shows it, one after another.

    Args:
        maps: ``(B, K, H, W)``, one for each class.
        truths: The same shape, bool.
        thresholds: A cell above one is in the mask.
    """
    is_there = truths.flatten(2).any(dim=2)
    shown, truth = maps[is_there].flatten(1)[:, None], truths[is_there].flatten(1)[:, None]
    masks = shown > torch.tensor(thresholds).to(maps)[:, None]
    shared = (masks & truth).sum(dim=2)
    return shared / (masks | truth).sum(dim=2)


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """What was fitted to a layer."""

    ridge: Ridge
    threshold: float
    penalty: float


def _fit_probes(folds: Sequence[Iterable[Batch]]) -> dict[Key, _Probe]:
    """A probe of each layer; the last fold chooses the threshold before it joins the fit."""
    *others, last = folds
    sums = [_sums(fold) for fold in others]
    totals = {key: reduce(add, [each[key] for each in sums]) for key in sums[0]}
    penalties = {key: choose_penalties([each[key] for each in sums]) for key in totals}
    ridges = {key: fit(totals[key], penalties[key]) for key in totals}
    ious: dict[Key, list[Tensor]] = {key: [] for key in totals}
    for rows, features in last:
        for key, each in features.items():
            maps = ridges[key].predict(each, (GRID, GRID))
            ious[key].append(object_ious(maps[:, _CLASSES], rows.truths[:, _CLASSES], THRESHOLDS))
            totals[key] += moments(each, rows.truths)
    return {
        key: _Probe(
            fit(totals[key], penalties[key]),
            THRESHOLDS[int(torch.cat(ious[key]).mean(dim=0).argmax())],
            float(penalties[key][FOREGROUND]),
        )
        for key in totals
    }


def _sums(batches: Iterable[Batch]) -> dict[Key, Moments]:
    """The sums of each layer over these batches."""
    sums: dict[Key, Moments] = {}
    for rows, features in batches:
        for key, each in features.items():
            found = moments(each, rows.truths)
            sums[key] = sums[key] + found if key in sums else found
    return sums


class _Tally:
    """How a probe fares on scenes that it was not fitted to, by the noise's number."""

    def __init__(self) -> None:
        self._rankings: dict[int, PixelRanking] = {}
        self._ious: dict[int, list[Tensor]] = {}
        self._shape = (0, 0)

    def add(self, probe: _Probe, features: Tensor, rows: Rows) -> None:
        """Judge some scenes under one noise."""
        self._shape = features.shape[1], features.shape[-2]
        maps = probe.ridge.predict(features, (GRID, GRID))
        ranks = torch.sigmoid(_STEEPNESS * (maps[:, FOREGROUND] - 0.5))
        ranking = self._rankings.setdefault(rows.noise, PixelRanking())
        ranking.add(ranks.cpu().numpy(), rows.truths[:, FOREGROUND].cpu().numpy())
        ious = object_ious(maps[:, _CLASSES], rows.truths[:, _CLASSES], (probe.threshold,))
        self._ious.setdefault(rows.noise, []).append(ious)

    def cell(self, key: Key, timestep: int, probe: _Probe) -> Cell:
        """The figures of all that was added."""
        precisions = [ranking.average_precision() or 0.0 for ranking in self._rankings.values()]
        mious = [float(torch.cat(each).mean()) for each in self._ious.values()]
        source, block = key
        channels, side = self._shape
        return Cell(
            source=source,
            block=block,
            timestep=None if source in WITHOUT_TIMESTEP else timestep,
            channels=channels,
            side=side,
            precision=fmean(precisions),
            miou=fmean(mious),
            precision_spread=stdev(precisions) if len(precisions) > 1 else None,
            miou_spread=stdev(mious) if len(mious) > 1 else None,
            threshold=probe.threshold,
            penalty=probe.penalty,
        )
