"""``ldznet evaluate``: the miniature's figures on held-out scenes, and a head's calibration."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from ..checkpoint import BUILT_IN, load_head, save_head
from ..errors import InputError
from ..evaluation.calibration import calibrate
from ..evaluation.cases import cases
from ..evaluation.masks import evaluate_masks
from ..head import LDZNetHead
from ..miniature import Miniature
from ..miniature.sampling import GUIDANCE
from ..segmenter import Segmenter
from ..training_free import TRAINING_FREE
from .models import load_models
from .options import option

What = Literal[
    "masks",
    "vae",
    "recognition",
    "calibration",
    "sheet",
    "training-free",
    "training-free-sheet",
    "all",
]


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    what: What = option(
        "all",
        "what is measured; calibration writes the head's thresholds, a sheet is a picture, "
        "training-free compares ways without a trained head",
    )
    world: str = option("small", "the world's name")
    split: str = option("iid", "the split that masks and VAE are measured on")
    count: int = option(200, "scenes for masks, VAE, calibration and training-free")
    validation: int = option(100, "scenes that choose the thresholds, of training-free")
    samples: int = option(100, "pictures for the recognition")
    steps: int = option(20, "UNet passes for a picture")
    guidance: float = option(GUIDANCE, "how strictly prompts are followed")
    scenes: int = option(20000, "scenes that the judge is trained on, as in `ldznet train`")
    folder: Path = option(Path("runs/miniature"), "folder whose cache the judge's scenes come from")
    model: str = option("miniature", '"miniature" or a folder of such weights')
    head: str = option("miniature", 'name or file of the head; "training-free" for none')
    out: Path | None = option(None, "file for the figures as JSON; for a sheet, the picture")


def run(options: Options) -> dict[str, Any]:
    """Measure, and write the figures where asked."""
    counts = (options.count, options.samples, options.validation)
    if min(counts) < 1:
        raise InputError(
            f"expected at least one scene and sample, got {', '.join(map(str, counts))}: raise "
            "--count, --samples or --validation"
        )
    miniature, head = load_models(options.model, options.head)
    segmenter = Segmenter(miniature, head)
    if options.what == "sheet":
        return _draw_sheet(options, miniature, segmenter)
    if options.what == "training-free-sheet":
        return _draw_training_free(options, miniature)
    report = _measure(options, miniature, segmenter)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def describe(report: dict[str, Any]) -> str:
    """The figures, a block for each part."""
    blocks = []
    for part, figures in report.items():
        if all(isinstance(each, dict) for each in figures.values()):
            blocks.append(f"{part}:\n\n{_as_table(figures)}")
            continue
        lines = [f"{part}:"]
        for name, value in figures.items():
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            lines.append(f"  {name:<24} {shown}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _measure(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    """The parts that are asked for, by name."""
    report: dict[str, Any] = {}
    if options.what == "calibration":
        report["calibration"] = _calibrate(options, segmenter)
    if options.what == "training-free":
        report[_compared(options)] = _compare(options, miniature, segmenter)
    if options.what in ("masks", "all"):
        asked = cases(options.world, options.split, options.count, miniature.image_side)
        shown = tqdm(asked, desc=f"masks of {options.split}", total=options.count, leave=False)
        report[f"masks of {options.split}"] = {
            "mask_threshold": segmenter.head.config.mask_threshold,
            "presence_threshold": segmenter.head.config.presence_threshold,
            **evaluate_masks(segmenter, shown).summary(),
        }
    if options.what in ("vae", "all"):
        report["vae"] = _reconstruction(options, miniature)
    if options.what in ("recognition", "all"):
        report["recognition"] = _recognition(options, miniature)
    return report


def _draw_sheet(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    from ..evaluation.contact_sheet import contact_sheet, make_rows

    out = options.out or Path("contact-sheet.png")
    rows = make_rows(
        miniature, segmenter, options.world, options.samples, options.steps, options.guidance
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(rows).save(out)
    return {"sheet": {"pictures": len(rows), "file": str(out)}}


def _draw_training_free(options: Options, miniature: Miniature) -> dict[str, Any]:
    from ..evaluation.training_free_sheet import draw_sheet

    out = options.out or Path("training-free.png")
    asked = cases(options.world, options.split, options.count, miniature.image_side)
    shown = tqdm(asked, desc="sheet", unit="scene", total=options.count, leave=False)
    segmenter = Segmenter(miniature, load_head(TRAINING_FREE))
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(miniature, segmenter, shown).save(out)
    return {"sheet": {"scenes": options.count, "file": str(out)}}


def _compared(options: Options) -> str:
    return f"ways without a trained head on {options.split}, {options.count} scenes"


def _compare(
    options: Options, miniature: Miniature, trained: Segmenter
) -> dict[str, dict[str, float]]:
    """Every way's figures on the split, with thresholds that the validation split chose."""
    from ..evaluation.comparison import choose, cost_of, figures, tally
    from ..evaluation.training_free import ways_to_compare

    ways = ways_to_compare(Segmenter(miniature, load_head(TRAINING_FREE)), {options.head: trained})
    tallies = {}
    for split, count in (("validation", options.validation), (options.split, options.count)):
        asked = cases(options.world, split, count, miniature.image_side)
        shown = tqdm(asked, desc=split, unit="scene", total=count, leave=False)
        tallies[split] = tally(ways, miniature, shown)
    example = next(cases(options.world, options.split, 1, miniature.image_side))
    return {
        name: asdict(
            figures(
                tallies[options.split][name],
                choose(tallies["validation"][name]),
                cost_of(way, miniature, example),
            )
        )
        for name, way in tqdm(ways.items(), desc="cost", unit="way", leave=False)
    }


def _as_table(measured: dict[str, dict[str, float]]) -> str:
    from ..evaluation.comparison import Figures, table

    return table({name: Figures(**each) for name, each in measured.items()})


def _calibrate(options: Options, segmenter: Segmenter) -> dict[str, float]:
    """Choose the thresholds on the validation split and save the head with them."""
    head = segmenter.head
    if not isinstance(head, LDZNetHead):
        raise InputError(
            "expected a head whose thresholds are stored, got none: calibrate a trained one"
        )
    asked = cases(options.world, "validation", options.count, head.config.image_side)
    found = calibrate(segmenter, tqdm(asked, desc="calibration", total=options.count, leave=False))
    head.config = dataclasses.replace(
        head.config,
        mask_threshold=found.mask_threshold,
        presence_threshold=found.presence_threshold,
    )
    save_head(head, BUILT_IN.get(options.head, Path(options.head)), dtype=torch.float16)
    return asdict(found)


def _reconstruction(options: Options, miniature: Miniature) -> dict[str, float]:
    from ..evaluation.pictures import reconstruction_psnr

    return {
        "psnr_db": reconstruction_psnr(miniature, options.world, options.split, options.count),
        "scenes": options.count,
    }


def _recognition(options: Options, miniature: Miniature) -> dict[str, Any]:
    from ..evaluation.judge import train_judge
    from ..evaluation.pictures import recognise
    from ..training.cache import SceneCache

    cache, side = options.folder / "cache", miniature.image_side
    scenes = SceneCache(cache, options.world, "train", options.scenes, side)
    judge = train_judge(scenes, SceneCache(cache, options.world, "validation", 500, side))
    found = recognise(miniature, judge, options.samples, options.steps, options.guidance)
    return {"judge_accuracy": judge.accuracy, **asdict(found)}
