"""``ldznet evaluate``: figures on held-out scenes or a data set, and a head's calibration."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from ..auto_head import AUTO_HEAD
from ..checkpoint import BUILT_IN, load_head, save_head
from ..data_sets import Format, Partition
from ..errors import InputError
from ..evaluation.calibration import calibrate
from ..evaluation.cases import Case
from ..evaluation.masks import MaskFigures, evaluate_masks
from ..evaluation.painted import OF_PAINTED, PAINTED
from ..head import AnyHead
from ..miniature import Miniature
from ..miniature.sampling import GUIDANCE
from ..segmenter import Segmenter
from ..training_free import TRAINING_FREE
from . import evaluate_compared, evaluate_data
from .evaluate_compared import COMPARISONS, ComparedAsk, compare
from .evaluate_data import DataAsk
from .held_out import shown
from .models import HEAD, DType, chosen_head, load_models
from .options import option

if TYPE_CHECKING:
    from ..training.cache import SceneCache

_OWN, _OF_SCENES = "own", "iid"
"""A split that is not named, and what it is of scenes."""

What = Literal[
    "masks",
    "vae",
    "recognition",
    "agreement",
    "calibration",
    "sheet",
    "ranked-sheet",
    "training-free",
    "training-free-sheet",
    "looks",
    "whole-prompt",
    "edges",
    "all",
]


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    what: What = option(
        "all",
        "what is measured; agreement holds masks of generated pictures against those of a plain "
        "RGB segmenter, calibration writes the head's thresholds, a sheet is a picture (ranked: of "
        "the best, median and worst masks), training-free compares ways without a trained head, "
        "looks what trained heads are shown (captured or probed, when, under which text), "
        "whole-prompt the maps of what prompts are about, edges the filters that may snap masks to "
        "a picture",
    )
    world: str = option("small", "the world's name")
    split: str = option(
        _OWN,
        'the split that masks and VAE are measured on; "own": iid of scenes, the usual one of a '
        'data set, where several may have commas between them; "gen": iid, painted anew, for masks',
    )
    count: int = option(200, "scenes for masks, VAE, calibration, comparisons and other sheets")
    validation: int = option(100, "scenes that choose the thresholds of what is compared")
    samples: int = option(100, "pictures for recognition, agreement and the sheet of prompts")
    steps: int = option(20, "UNet passes for a picture")
    guidance: float = option(GUIDANCE, "how strictly prompts are followed")
    scenes: int = option(20000, "scenes that judges are trained on, as in `ldznet train`")
    folder: Path = option(Path("runs/miniature"), "folder whose cache the judge's scenes come from")
    model: str = option(
        "miniature",
        '"miniature" or a folder of such weights; on a data set any model of `ldznet segment`',
    )
    head: str = option(AUTO_HEAD, HEAD)
    other_head: tuple[str, ...] = option(
        (), "a further head for training-free, looks and agreement; may be repeated"
    )
    way: tuple[str, ...] = option(
        (),
        "of training-free and looks compare only the first way and those with these words in "
        "their names; may be repeated",
    )
    out: Path | None = option(
        None,
        "file for the figures as JSON, of a data set beside tables and curves; for a sheet, the "
        "picture",
    )
    data: Path | None = option(None, "folder of a data set to measure on in the place of scenes")
    format: Format = option("jsonl", "how the data set is laid out, as its authors publish it")
    partition: Partition | None = option(
        None, "whose split of RefCOCO, + or g; unc, unc and umd if not given"
    )
    threshold: float | None = option(
        None,
        "probability above which a pixel of a data set is in a mask; the head's own if not given",
    )
    limit: int = option(0, "only so many phrases of a data set's split, the first ones; 0 for all")
    device: str | None = option(
        None, "of a data set's masks: cpu, cuda, ...; cuda if not given and there is one"
    )
    dtype: DType = option("float32", "what UNet and head compute in on a data set")


def run(options: Options) -> dict[str, Any]:
    """Measure, and write the figures where asked."""
    options = dataclasses.replace(options, head=chosen_head(options.model, options.head))
    if options.data:
        return evaluate_data.run(_ask_of_data(options, options.data))
    if options.split == _OWN:
        options = dataclasses.replace(options, split=_OF_SCENES)
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
    if options.what == "ranked-sheet":
        return _draw_ranked(options, miniature, segmenter)
    if options.what == "training-free-sheet":
        return _draw_training_free(options, miniature)
    report = _measure(options, miniature, segmenter)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def describe(report: dict[str, Any]) -> str:
    """The figures, a block for each part."""
    if "data" in report:
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


def _ask_of_data(options: Options, folder: Path) -> DataAsk:
    return DataAsk(
        folder=folder,
        data=options.format,
        splits="" if options.split == _OWN else options.split,
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
        report["calibration"] = _calibrate(options, segmenter)
    if options.what in COMPARISONS:
        report |= compare(options.what, _ask_of_comparison(options, miniature, segmenter))
    if options.what in ("masks", "all"):
        report[f"masks of {options.split}"] = {
            "mask_threshold": segmenter.head.config.mask_threshold,
            "presence_threshold": segmenter.head.config.presence_threshold,
            **_masks(options, miniature, segmenter).summary(),
        }
    if options.what in ("vae", "all"):
        report["vae"] = _reconstruction(options, miniature)
    if options.what in ("recognition", "all"):
        report["recognition"] = _recognition(options, miniature)
    if options.what == "agreement":
        report |= _agreement(options, miniature, segmenter)
    return report


def _masks(options: Options, miniature: Miniature, segmenter: Segmenter) -> MaskFigures:
    """Those of the split, and of "gen" those captured while it was painted anew."""
    asked, painter = _asked(options, miniature, f"masks of {options.split}")
    return evaluate_masks(segmenter, asked, painter=painter)


def _asked(
    options: Options, miniature: Miniature, name: str
) -> tuple[Iterable[Case], Miniature | None]:
    """The split's scenes, and of "gen" what paints them anew."""
    is_painted = options.split == PAINTED
    split = OF_PAINTED if is_painted else options.split
    asked = shown(options.world, split, options.count, miniature.image_side, name)
    return asked, miniature if is_painted else None


def _draw_sheet(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    from ..evaluation.pictures.contact_sheet import contact_sheet, make_rows

    out = options.out or Path("contact-sheet.png")
    rows = make_rows(
        miniature, segmenter, options.world, options.samples, options.steps, options.guidance
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(rows).save(out)
    return {"sheet": {"pictures": len(rows), "file": str(out)}}


def _draw_ranked(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    from ..evaluation.pictures.ranked import draw_ranked

    out = options.out or Path("ranked.png")
    asked, painter = _asked(options, miniature, "sheet")
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_ranked(segmenter, asked, painter).save(out)
    return {"sheet": {"scenes": options.count, "file": str(out)}}


def _draw_training_free(options: Options, miniature: Miniature) -> dict[str, Any]:
    from ..evaluation.training_free.sheet import draw_sheet

    out = options.out or Path("training-free.png")
    asked, _ = _asked(options, miniature, "sheet")
    segmenter = Segmenter(miniature, load_head(TRAINING_FREE))
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(miniature, segmenter, asked).save(out)
    return {"sheet": {"scenes": options.count, "file": str(out)}}


def _calibrate(options: Options, segmenter: Segmenter) -> dict[str, float]:
    """Choose the thresholds on the validation split and save the head with them."""
    head = segmenter.head
    if not isinstance(head, AnyHead):
        raise InputError(
            "expected a head whose thresholds are stored, got none: calibrate a trained one"
        )
    side = head.config.image_side
    asked = shown(options.world, "validation", options.count, side, "calibration")
    found = calibrate(segmenter, asked)
    head.config = dataclasses.replace(
        head.config,
        mask_threshold=found.mask_threshold,
        presence_threshold=found.presence_threshold,
    )
    save_head(head, BUILT_IN.get(options.head, Path(options.head)), dtype=torch.float16)
    return asdict(found)


def _reconstruction(options: Options, miniature: Miniature) -> dict[str, float]:
    from ..evaluation.pictures.measures import reconstruction_psnr

    return {
        "psnr_db": reconstruction_psnr(miniature, options.world, options.split, options.count),
        "scenes": options.count,
    }


def _recognition(options: Options, miniature: Miniature) -> dict[str, Any]:
    from ..evaluation.pictures.judge import train_judge
    from ..evaluation.pictures.measures import recognise

    judge = train_judge(*_scenes_of_judges(options, miniature))
    found = recognise(miniature, judge, options.samples, options.steps, options.guidance)
    return {"judge_accuracy": judge.accuracy, **asdict(found)}


def _agreement(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    from ..evaluation.pictures.agreement import agree, ways_of
    from ..evaluation.pictures.rgb_judge import train_rgb_judge

    others = {name: Segmenter(miniature, load_head(name)) for name in options.other_head}
    judge = train_rgb_judge(*_scenes_of_judges(options, miniature))
    painted, found = agree(
        miniature,
        ways_of({options.head: segmenter, **others}),
        judge,
        options.world,
        options.samples,
        steps=options.steps,
        guidance=options.guidance,
    )
    return {
        "judge": {"accuracy": judge.accuracy, **painted.summary()},
        f"agreement on {options.samples} pictures": {
            name: each.summary() for name, each in found.items()
        },
    }


def _scenes_of_judges(options: Options, miniature: Miniature) -> tuple[SceneCache, SceneCache]:
    """What judges learn from, and what they are tried on."""
    from ..training.cache import SceneCache

    cache, side = options.folder / "cache", miniature.image_side
    learnt = SceneCache(cache, options.world, "train", options.scenes, side)
    return learnt, SceneCache(cache, options.world, "validation", 500, side)
