"""What is written of a picture: all together, and marked, so that it can be found done later."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypedDict, cast

from PIL import Image

from ..checkpoint import BUILT_IN
from ..errors import CheckpointError
from ..overlay import overlay
from ..segmentation import Segmentation
from ..shards import find_files
from ..whole_files import room_beside
from .masks import PhraseReport, write_masks

MARK = "picture.json"
"""The file of a picture's folder that says what was asked and found; the last to appear."""

REPORT = "report.json"
"""The file beside the pictures' folders that says what was found in all of them."""

_OVERLAY = "overlay.png"


class PictureReport(TypedDict):
    """What was found in one picture."""

    image: str
    folder: str
    source: str | None
    timestep: float | None
    threshold: float
    phrases: list[PhraseReport]


def write_result(
    folder: Path,
    picture: Image.Image,
    size: tuple[int, int],
    masks: Segmentation,
    report: PictureReport,
    asked: dict[str, Any],
) -> PictureReport:
    """Write masks, overlay and mark of a picture; the report with its phrases.

    Args:
        folder: Where they go; it is made where there is none.
        picture: RGB, of the size of the masks.
        size: (height, width) of the picture in its file, to which masks are enlarged.
        masks: What was found.
        report: Of the picture, still without phrases.
        asked: Everything that decides what the masks are.

    Raises:
        InputError: The folder is a file, or lies in one.
    """
    with room_beside(folder) as room:
        draft = room / "result"  # with the rights of any new folder, unlike the one around it
        draft.mkdir()
        report = {**report, "phrases": write_masks(masks, draft, size)}
        overlay(picture, masks).save(draft / _OVERLAY)
        mark = json.dumps({"asked": asked, "found": report}, indent=2) + "\n"
        (draft / MARK).write_text(mark, encoding="utf-8")
        _publish(draft, folder)
    return report


def read_result(folder: Path, asked: dict[str, Any]) -> PictureReport | None:
    """What an earlier run found, if it was asked the same and all of its files are there."""
    try:
        mark = json.loads((folder / MARK).read_bytes())
        report = mark["found"]
        names = [_OVERLAY, *(phrase["mask"] for phrase in report["phrases"])]
        is_whole = mark["asked"] == asked and all((folder / name).is_file() for name in names)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return cast("PictureReport", report) if is_whole else None


def identity(path: Path) -> dict[str, Any]:
    """What tells a file from others, and from what it was before it changed."""
    found = path.stat() if path.exists() else None
    return {
        "path": str(path),
        "bytes": found.st_size if found else None,
        "changed": found.st_mtime_ns if found else None,
    }


def identity_of_weights(source: str) -> list[dict[str, Any]] | str:
    """The same of all files of a head or a model; of what has none, such as no head, its name.

    Args:
        source: A name, a file, the stem or a shard of several, or a folder.
    """
    path = Path(BUILT_IN.get(source, source))
    if path.is_dir():
        return [identity(file) for file in sorted(path.rglob("*")) if file.is_file()]
    try:
        return [identity(file) for file in find_files(path)]
    except CheckpointError:  # loading it says what is wrong
        return [identity(path)] if path.is_file() else source


def _publish(draft: Path, folder: Path) -> None:
    """Let a draft appear: at once where its folder is new, else with the mark last."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(draft, folder)
        return
    (folder / MARK).unlink(missing_ok=True)
    for file in sorted(draft.iterdir(), key=lambda each: each.name == MARK):
        os.replace(file, folder / file.name)
