"""``ldznet segment``: masks of pictures that lie on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from ..errors import InputError
from ..overlay import overlay
from ..phrases import check_phrases
from ..pictures import to_picture
from ..segmenter import Segmenter
from .masks_report import PhraseReport, table, write_masks
from .models import load_models
from .options import option
from .staging import staged


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    image: tuple[Path, ...] = option((), "pictures, in any form that Pillow reads", positional=True)
    phrase: tuple[str, ...] = option((), "what to mask; may be repeated")
    negative: tuple[str, ...] = option((), "what to take out of every mask; may be repeated")
    out: Path | None = option(None, "folder for the masks and report.json")
    threshold: float | None = option(
        None, "probability above which a pixel is in a mask, 0 to 1; the head's own if not given"
    )
    model: str = option("miniature", '"miniature" or a folder of such weights')
    head: str = option("miniature", "name or file of the head")


class PictureReport(TypedDict):
    """What was found in one picture."""

    image: str
    folder: str
    source: str | None
    timestep: float | None
    threshold: float
    phrases: list[PhraseReport]


class Report(TypedDict):
    """What ``report.json`` holds."""

    pictures: list[PictureReport]
    out: str


def run(options: Options) -> Report:
    """Write the masks of all pictures, or of none if one of them cannot be read."""
    if options.out is None:
        raise InputError("expected a folder for the masks, got none: add --out DIR")
    check_phrases(options.phrase)
    check_phrases(options.negative, may_be_none=True)
    pictures = [_open(path) for path in options.image]
    segmenter = Segmenter(*load_models(options.model, options.head))
    folders = _folders(options.image)
    report = Report(pictures=[], out=str(options.out))
    with staged(options.out) as draft:
        jobs = zip(options.image, pictures, folders, strict=True)
        for path, picture, name in tqdm(jobs, total=len(pictures), unit="picture", leave=False):
            folder = draft / name
            folder.mkdir(parents=True, exist_ok=True)
            masks = segmenter.segment_image(
                picture, options.phrase, options.negative, options.threshold
            )
            overlay(picture, masks).save(folder / "overlay.png")
            report["pictures"].append(
                PictureReport(
                    image=str(path),
                    folder=name,
                    source=masks.source,
                    timestep=masks.timestep,
                    threshold=masks.threshold,
                    phrases=write_masks(masks, folder),
                )
            )
        (draft / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def describe(report: Report) -> str:
    """The report as a table for each picture."""
    tables = [f"{each['image']}\n{table(each['phrases'])}" for each in report["pictures"]]
    return "\n\n".join([*tables, f"masks and report.json are in {report['out']}"])


def _open(path: Path) -> Image.Image:
    """The picture, upright and RGB."""
    try:
        with Image.open(path) as opened:
            return to_picture(ImageOps.exif_transpose(opened))
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise InputError(
            f"expected a picture in {path}, got {error}: choose another file"
        ) from error


def _folders(paths: tuple[Path, ...]) -> list[str]:
    """Where each picture's masks go below the folder of all: one picture needs no folder."""
    if len(paths) == 1:
        return ["."]
    names: list[str] = []
    for path in paths:
        number = 1
        while (name := f"{path.stem}{f'-{number}' if number > 1 else ''}") in names:
            number += 1
        names.append(name)
    return names
