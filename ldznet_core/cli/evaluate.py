"""``ldznet evaluate``: figures on held-out scenes or a data set, and a head's calibration."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from ..checkpoint import BUILT_IN, load_head, save_head
from ..errors import InputError
from ..evaluation.calibration import calibrate
from ..evaluation.cases import Case, cases
from ..evaluation.data.sets import Format, Partition
from ..evaluation.masks import MaskFigures, evaluate_masks
from ..head import AnyHead
from ..miniature import Miniature
from ..miniature.sampling import GUIDANCE
from ..segmenter import Segmenter
from ..training_free import TRAINING_FREE
from . import evaluate_data
from .evaluate_data import DataAsk
from .models import DType, load_models
from .options import option

_PAINTED, _OF_PAINTED = "gen", "iid"
"""The split of pictures that the miniature paints itself, and the split of their scenes."""

_OWN, _OF_SCENES = "own", "iid"
"""A split that is not named, and what it is of scenes."""

What = Literal[
    "masks",
    "vae",
    "recognition",
    "calibration",
    "sheet",
    "training-free",
    "training-free-sheet",
    "whole-prompt",
    "edges",
    "all",
]


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    what: What = option(
        "all",
        "what is measured; calibration writes the head's thresholds, a sheet is a picture, "
        "training-free compares ways without a trained head, whole-prompt the maps of what prompts "
        "are about, edges the filters that may snap masks to a picture",
    )
    world: str = option("small", "the world's name")
    split: str = option(
        _OWN,
        'the split that masks and VAE are measured on; "own": iid of scenes, the usual one of a '
        'data set, where several may have commas between them; "gen": iid, painted anew, for masks',
    )
    count: int = option(200, "scenes for masks, VAE, calibration and training-free")
    validation: int = option(100, "scenes that choose the thresholds, of training-free")
    samples: int = option(100, "pictures for the recognition")
    steps: int = option(20, "UNet passes for a picture")
    guidance: float = option(GUIDANCE, "how strictly prompts are followed")
    scenes: int = option(20000, "scenes that the judge is trained on, as in `ldznet train`")
    folder: Path = option(Path("runs/miniature"), "folder whose cache the judge's scenes come from")
    model: str = option(
        "miniature",
        '"miniature" or a folder of such weights; on a data set any model of `ldznet segment`',
    )
    head: str = option("miniature", 'name or file of the head; "training-free" for none')
    other_head: tuple[str, ...] = option(
        (), "a further head that training-free is compared with; may be repeated"
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
            blocks.append(f"{part}:\n\n{_as_table(figures)}")
            continue
        lines = [f"{part}:"]
        for name, value in figures.items():
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            lines.append(f"  {name:<24} {shown}")
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


def _measure(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    """The parts that are asked for, by name."""
    report: dict[str, Any] = {}
    if options.what == "calibration":
        report["calibration"] = _calibrate(options, segmenter)
    if options.what == "training-free":
        report[_compared(options)] = _compare(options, miniature, segmenter)
    if options.what == "whole-prompt":
        report |= _compare_prompt_maps(options, miniature, segmenter)
    if options.what == "edges":
        report |= _compare_edges(options, miniature, segmenter)
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
    return report


def _masks(options: Options, miniature: Miniature, segmenter: Segmenter) -> MaskFigures:
    """Those of the split, and of "gen" those captured while it was painted anew."""
    is_painted = options.split == _PAINTED
    split = _OF_PAINTED if is_painted else options.split
    shown = _shown(options, miniature, split, options.count, f"masks of {options.split}")
    return evaluate_masks(segmenter, shown, painter=miniature if is_painted else None)


def _shown(
    options: Options, miniature: Miniature, split: str, count: int, name: str
) -> Iterable[Case]:
    """The first cases of a split, with a progress bar of this name."""
    asked = cases(options.world, split, count, miniature.image_side)
    return tqdm(asked, desc=name, unit="scene", total=count, leave=False)  # type: ignore[no-any-return]


def _compare_prompt_maps(
    options: Options, miniature: Miniature, segmenter: Segmenter
) -> dict[str, Any]:
    """On scenes that are painted anew, and on pictures painted from their captions."""
    from ..evaluation.training_free.whole_prompt import KINDS, compare

    report = {}
    for kind in KINDS:
        chosen_on, measured_on = (
            _shown(options, miniature, split, count, f"{kind}, {split}")
            for split, count in (
                ("validation", options.validation),
                (options.split, options.count),
            )
        )
        report[f"whole prompts, {kind} pictures of {options.split}"] = compare(
            miniature, segmenter, kind, chosen_on, measured_on, options.steps
        )
    return report


def _compare_edges(
    options: Options, miniature: Miniature, segmenter: Segmenter
) -> dict[str, dict[str, Any]]:
    """Every filter that is installed; the others with the reason."""
    from ..evaluation.edges import evaluate_edges, find_snaps

    snaps = find_snaps()
    shown = _shown(options, miniature, options.split, options.count, "edges")
    found = evaluate_edges(segmenter, shown, snaps.ways)
    report: dict[str, dict[str, Any]] = {
        f"edges, {options.split}": {name: each.summary() for name, each in found.items()}
    }
    return report | ({"left out": dict(snaps.left_out)} if snaps.left_out else {})


def _draw_sheet(options: Options, miniature: Miniature, segmenter: Segmenter) -> dict[str, Any]:
    from ..evaluation.pictures.contact_sheet import contact_sheet, make_rows

    out = options.out or Path("contact-sheet.png")
    rows = make_rows(
        miniature, segmenter, options.world, options.samples, options.steps, options.guidance
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(rows).save(out)
    return {"sheet": {"pictures": len(rows), "file": str(out)}}


def _draw_training_free(options: Options, miniature: Miniature) -> dict[str, Any]:
    from ..evaluation.training_free.sheet import draw_sheet

    out = options.out or Path("training-free.png")
    shown = _shown(options, miniature, options.split, options.count, "sheet")
    segmenter = Segmenter(miniature, load_head(TRAINING_FREE))
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(miniature, segmenter, shown).save(out)
    return {"sheet": {"scenes": options.count, "file": str(out)}}


def _compared(options: Options) -> str:
    return f"ways without a trained head on {options.split}, {options.count} scenes"


def _compare(
    options: Options, miniature: Miniature, trained: Segmenter
) -> dict[str, dict[str, float]]:
    """Every way's figures on the split, with thresholds that the validation split chose.

    For "gen" both are painted anew.
    """
    from ..evaluation.training_free.comparison import choose, cost_of, figures, tally
    from ..evaluation.training_free.ways import ways_to_compare

    default = Segmenter(miniature, load_head(TRAINING_FREE))
    others = {name: Segmenter(miniature, load_head(name)) for name in options.other_head}
    are_painted = options.split == _PAINTED
    ways = ways_to_compare(default, {options.head: trained, **others}, are_painted=are_painted)
    measured = _OF_PAINTED if are_painted else options.split
    tallies = {}
    for split, count in (("validation", options.validation), (measured, options.count)):
        shown = _shown(options, miniature, split, count, split)
        tallies[split] = tally(ways, miniature, shown, are_painted=are_painted)
    example = next(cases(options.world, measured, 1, miniature.image_side))
    return {
        name: asdict(
            figures(
                tallies[measured][name],
                choose(tallies["validation"][name]),
                cost_of(way, miniature, example, is_painted=are_painted),
            )
        )
        for name, way in tqdm(ways.items(), desc="cost", unit="way", leave=False)
    }


def _as_table(measured: dict[str, dict[str, float]]) -> str:
    from ..evaluation.tables import as_table
    from ..evaluation.training_free.comparison import Figures, table

    if "cost" not in next(iter(measured.values())):
        return as_table("way", measured)
    return table({name: Figures(**each) for name, each in measured.items()})


def _calibrate(options: Options, segmenter: Segmenter) -> dict[str, float]:
    """Choose the thresholds on the validation split and save the head with them."""
    head = segmenter.head
    if not isinstance(head, AnyHead):
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
    from ..evaluation.pictures.measures import reconstruction_psnr

    return {
        "psnr_db": reconstruction_psnr(miniature, options.world, options.split, options.count),
        "scenes": options.count,
    }


def _recognition(options: Options, miniature: Miniature) -> dict[str, Any]:
    from ..evaluation.pictures.judge import train_judge
    from ..evaluation.pictures.measures import recognise
    from ..training.cache import SceneCache

    cache, side = options.folder / "cache", miniature.image_side
    scenes = SceneCache(cache, options.world, "train", options.scenes, side)
    judge = train_judge(scenes, SceneCache(cache, options.world, "validation", 500, side))
    found = recognise(miniature, judge, options.samples, options.steps, options.guidance)
    return {"judge_accuracy": judge.accuracy, **asdict(found)}
