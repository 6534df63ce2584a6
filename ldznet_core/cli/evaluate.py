"""``ldznet evaluate``: figures on held-out scenes or a data set, and a head's calibration."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..evaluation.masks import MaskFigures, evaluate_masks
from ..evaluation.painted import OF_PAINTED, PAINTED
from ..miniature import Miniature
from ..segmenter import Segmenter
from ..whole_files import check_writable, write_text
from . import evaluate_compared, evaluate_data, evaluate_protocols
from .evaluate_calibration import calibrated, check_head
from .evaluate_compared import COMPARISONS, ComparedAsk, compare
from .evaluate_data import DataAsk
from .evaluate_options import OWN, Options
from .evaluate_sheets import SHEETS, draw
from .held_out import shown_or_painted
from .models import chosen_head, load_models

_OF_PICTURES = ("vae", "recognition", "agreement", "all")
"""What looks at pictures and not at masks alone."""

_OF_DATA = ("masks", "protocols", "all")
"""What can be measured on a data set."""

_UNPAINTED = ("whole-prompt", "edges")
"""What shows its own pictures, so that scenes cannot be painted anew for it."""


def run(options: Options) -> dict[str, Any]:
    """Measure, and write the figures where asked."""
    _check(options)
    options = dataclasses.replace(options, head=chosen_head(options.model, options.head))
    if options.data:
        return evaluate_data.run(_ask_of_data(options, options.data))
    if options.split == OWN:
        options = dataclasses.replace(options, split=OF_PAINTED)
    miniature, head = load_models(options.model, options.head)
    segmenter = Segmenter(miniature, head)
    if options.what in SHEETS:
        return draw(options.what, options, miniature, segmenter)
    if options.what == "protocols":
        return evaluate_protocols.run(options, miniature, segmenter)
    report = _measure(options, miniature, segmenter)
    if options.out:
        write_text(options.out, json.dumps(report, indent=2))
    return report


def describe(report: dict[str, Any]) -> str:
    """The figures, a block for each part."""
    if evaluate_data.KEY in report:
        return evaluate_data.describe(report)
    blocks = []
    for part, figures in report.items():
        if all(isinstance(each, dict) for each in figures.values()):
            blocks.append(f"{part}:\n\n{evaluate_compared.describe(figures)}")
            continue
        lines = [f"{part}:"]
        for name, value in figures.items():
            text = f"{value:.4f}" if isinstance(value, float) else str(value)
            lines.append(f"  {name:<24} {text}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _check(options: Options) -> None:
    """Refuse before all work what would fail after it.

    Raises:
        InputError: With what to change.
    """
    check_writable(options.out)
    counts = (options.count, options.samples, options.validation)
    if min(counts) < 1:
        raise InputError(
            f"expected at least one scene and sample, got {', '.join(map(str, counts))}: raise "
            "--count, --samples or --validation"
        )
    if options.what == "calibration":
        check_head(options)
    if options.what == "protocols" and not options.data:
        evaluate_protocols.check(options)
    if options.data and options.what not in _OF_DATA:
        raise InputError(
            f"expected masks to be measured on a data set, got --what {options.what}: leave it out"
        )
    if options.split == PAINTED and options.what in _UNPAINTED:
        raise InputError(
            f"expected a split of scenes for --what {options.what}, got {PAINTED}, whose scenes "
            "are painted anew: choose another for --split"
        )


def _ask_of_data(options: Options, folder: Path) -> DataAsk:
    return DataAsk(
        folder=folder,
        data=options.format,
        splits="" if options.split == OWN else options.split,
        partition=options.partition,
        model=options.model,
        head=options.head,
        threshold=options.threshold,
        limit=options.limit,
        device=options.device,
        dtype=options.dtype,
        out=options.out,
    )


def _ask_of_comparison(options: Options, miniature: Miniature, segmenter: Segmenter) -> ComparedAsk:
    return ComparedAsk(
        miniature=miniature,
        trained=segmenter,
        head=options.head,
        other_heads=options.other_head,
        world=options.world,
        split=options.split,
        count=options.count,
        validation=options.validation,
        steps=options.steps,
        words=options.way,
    )


def _measure(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    """The parts that are asked for, by name."""
    report: dict[str, Any] = {}
    if options.what == "calibration":
        report["calibration"] = asdict(calibrated(options, segmenter))
    if options.what in COMPARISONS:
        report |= compare(options.what, _ask_of_comparison(options, miniature, segmenter))
    if options.what in ("masks", "all"):
        report[f"masks of {options.split}"] = {
            "mask_threshold": segmenter.head.config.mask_threshold,
            "presence_threshold": segmenter.head.config.presence_threshold,
            **_masks(options, miniature, segmenter).summary(),
        }
    if options.what in _OF_PICTURES:
        report |= _of_pictures(options, miniature, segmenter)
    return report


def _of_pictures(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    from . import evaluate_pictures  # needs the packages of training

    report: dict[str, Any] = {}
    if options.what in ("vae", "all"):
        report["vae"] = evaluate_pictures.reconstruction(options, miniature)
    if options.what in ("recognition", "all"):
        report["recognition"] = evaluate_pictures.recognition(options, miniature)
    if options.what == "agreement":
        report |= evaluate_pictures.agreement(options, miniature, segmenter)
    return report


def _masks(options: Options, miniature: Miniature, segmenter: Segmenter) -> MaskFigures:
    """Those of the split, and of "gen" those captured while it was painted anew."""
    asked, painter = shown_or_painted(
        miniature, options.world, options.split, options.count, f"masks of {options.split}"
    )
    return evaluate_masks(segmenter, asked, painter=painter)
