"""``ldznet evaluate --what protocols``: a head on our own splits, as others measure data sets."""

from __future__ import annotations

from dataclasses import asdict

from ..evaluation.data.measure import measure_cases
from ..evaluation.data.report import DataReport
from ..evaluation.painted import OF_PAINTED, scenes_of
from ..miniature import Miniature
from ..segmenter import Segmenter
from ..world import draw_layout
from .evaluate_data import KEY, write
from .evaluate_options import OWN, Options
from .held_out import shown_or_painted


def check(options: Options) -> None:
    """Refuse splits that there are not, before work.

    Raises:
        InputError: With what to choose.
    """
    for name in _splits(options):
        draw_layout(options.world, scenes_of(name), 0)


def run(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, DataReport]:
    """Measure, and write the figures as JSON, Markdown and a picture where asked."""
    data = f"the first {options.count} scenes of a split of `{options.world}`"
    report = DataReport(data=data, model=options.model, head=options.head, splits={})
    for name in _splits(options):
        cases, painter = shown_or_painted(miniature, options.world, name, options.count, name)
        measured = measure_cases(segmenter, cases, options.threshold, painter)
        report["splits"][name] = asdict(measured)
        if options.out:  # each split when it is done: another may take long
            write(report, options.out)
    return {KEY: report}


def _splits(options: Options) -> list[str]:
    """The splits that are named, each once; "gen" is painted anew."""
    names = OF_PAINTED if options.split == OWN else options.split
    return list(dict.fromkeys(name.strip() for name in names.split(",")))
