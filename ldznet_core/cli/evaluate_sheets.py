"""``ldznet evaluate`` of sheets: pictures of what was masked, to be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from PIL.Image import Image

from ..checkpoint import load_head
from ..evaluation.pictures.contact_sheet import contact_sheet, make_rows
from ..evaluation.pictures.ranked import draw_ranked
from ..evaluation.training_free.sheet import draw_sheet
from ..miniature import Miniature
from ..segmenter import Segmenter
from ..training_free import TRAINING_FREE
from ..whole_files import check_writable, write_picture
from .evaluate_options import Options
from .held_out import shown_or_painted

Sheet: TypeAlias = Literal["sheet", "ranked-sheet", "training-free-sheet"]
"""Prompts as they come, masks by score, ways without a trained head."""

SHEETS: tuple[Sheet, ...] = get_args(Sheet)

_FILES: dict[Sheet, str] = {
    "sheet": "contact-sheet.png",
    "ranked-sheet": "ranked.png",
    "training-free-sheet": "training-free.png",
}


def draw(
    which: Sheet, options: Options, miniature: Miniature, segmenter: Segmenter
) -> dict[str, Any]:
    """Draw a sheet and write it; the report of what was written."""
    out = options.out or Path(_FILES[which])
    check_writable(out)
    if which == "sheet":
        picture, shown = _prompts(options, miniature, segmenter)
    else:
        picture, shown = _scenes(which, options, miniature, segmenter)
    write_picture(out, picture)
    return {"sheet": {**shown, "file": str(out)}}


def _prompts(
    options: Options, miniature: Miniature, segmenter: Segmenter
) -> tuple[Image, dict[str, int]]:
    rows = make_rows(
        miniature, segmenter, options.world, options.samples, options.steps, options.guidance
    )
    return contact_sheet(rows), {"pictures": len(rows)}


def _scenes(
    which: Sheet, options: Options, miniature: Miniature, segmenter: Segmenter
) -> tuple[Image, dict[str, int]]:
    asked, painter = shown_or_painted(
        miniature, options.world, options.split, options.count, "sheet"
    )
    if which == "ranked-sheet":
        picture = draw_ranked(segmenter, asked, painter)
    else:
        untrained = Segmenter(miniature, load_head(TRAINING_FREE))
        picture = draw_sheet(miniature, untrained, asked)
    return picture, {"scenes": options.count}
