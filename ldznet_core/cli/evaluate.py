"""``ldznet evaluate``: the miniature's figures on held-out scenes, and a head's calibration."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from ..checkpoint import BUILT_IN, save_head
from ..errors import InputError
from ..evaluation.calibration import calibrate
from ..evaluation.cases import cases
from ..evaluation.masks import evaluate_masks
from ..head import LDZNetHead
from ..miniature import Miniature
from ..miniature.sampling import GUIDANCE
from ..segmenter import Segmenter
from .models import load_models
from .options import option

What = Literal["masks", "vae", "recognition", "calibration", "sheet", "all"]


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    what: What = option(
        "all", "what is measured; calibration writes the head's thresholds, sheet draws a picture"
    )
    world: str = option("small", "the world's name")
    split: str = option("iid", "the split that masks and VAE are measured on")
    count: int = option(200, "scenes for masks, VAE and calibration")
    samples: int = option(100, "pictures for the recognition")
    steps: int = option(20, "UNet passes for a picture")
    guidance: float = option(GUIDANCE, "how strictly prompts are followed")
    scenes: int = option(20000, "scenes that the judge is trained on, as in `ldznet train`")
    folder: Path = option(Path("runs/miniature"), "folder whose cache the judge's scenes come from")
    model: str = option("miniature", '"miniature" or a folder of such weights')
    head: str = option("miniature", "name or file of the head")
    out: Path | None = option(None, "file for the figures as JSON; for a sheet, the picture")


def run(options: Options) -> dict[str, Any]:
    """Measure, and write the figures where asked."""
    if options.count < 1 or options.samples < 1:
        raise InputError(
            f"expected at least one scene and sample, got {options.count} and {options.samples}: "
            "raise --count or --samples"
        )
    miniature, head = load_models(options.model, options.head)
    segmenter = Segmenter(miniature, head)
    if options.what == "sheet":
        return _draw_sheet(options, miniature, segmenter)
    report: dict[str, Any] = {}
    if options.what == "calibration":
        report["calibration"] = _calibrate(options, segmenter, head)
    if options.what in ("masks", "all"):
        asked = cases(options.world, options.split, options.count, miniature.image_side)
        shown = tqdm(asked, desc=f"masks of {options.split}", total=options.count, leave=False)
        report[f"masks of {options.split}"] = {
            "mask_threshold": head.config.mask_threshold,
            "presence_threshold": head.config.presence_threshold,
            **evaluate_masks(segmenter, shown).summary(),
        }
    if options.what in ("vae", "all"):
        report["vae"] = _reconstruction(options, miniature)
    if options.what in ("recognition", "all"):
        report["recognition"] = _recognition(options, miniature)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def describe(report: dict[str, Any]) -> str:
    """The figures, a block for each part."""
    blocks = []
    for part, figures in report.items():
        lines = [f"{part}:"]
        for name, value in figures.items():
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            lines.append(f"  {name:<24} {shown}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _draw_sheet(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    from ..evaluation.contact_sheet import contact_sheet, make_rows

    out = options.out or Path("contact-sheet.png")
    rows = make_rows(
        miniature, segmenter, options.world, options.samples, options.steps, options.guidance
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(rows).save(out)
    return {"sheet": {"pictures": len(rows), "file": str(out)}}


def _calibrate(options: Options, segmenter: Segmenter, head: LDZNetHead) -> dict[str, float]:
    """Choose the thresholds on the validation split and save the head with them."""
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
