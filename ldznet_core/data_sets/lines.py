"""Our own format: a file of JSON lines, one for each phrase.

``{"image": "a.png", "phrase": "red car", "mask": "a-0.png"}`` names a picture and a mask, which is
white inside, by paths from the file's folder. In the place of the mask may stand ``"polygons":
[[[x, y], ...], ...]`` or ``"rle": {"size": [h, w], "counts": ...}`` of COCO, or ``"absent": true``
for a phrase that names nothing in the picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .reading import field
from .rows import Row, Truth, by_picture
from .shapes import MaskFile, Nothing, Polygons, RunLengths, read_polygons

_SUFFIX = ".jsonl"


def read_lines(path: Path, split: str) -> list[Row]:
    """The phrases of a file.

    Args:
        path: The file, or a folder with ``<split>.jsonl``.
        split: Plays no part for a file.

    Raises:
        InputError: The file or a field of it is missing or damaged.
    """
    file = path if path.suffix == _SUFFIX else path / f"{split}{_SUFFIX}"
    if not file.is_file():
        found = sorted(each.stem for each in path.glob(f"*{_SUFFIX}")) if path.is_dir() else []
        raise InputError(
            f"expected lines of JSON in {file}, found no such file: name "
            + (f"a split of {', '.join(found)}" if found else "a folder with one")
        )
    return by_picture(_rows(file))


def _rows(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(_decoded(lines, file), start=1):
            if not line.strip():
                continue
            where = f"line {number} of {file}"
            record = _read_line(line, where)
            is_absent = record.get("absent") is True
            yield Row(
                file.parent / field(record, "image", str, where),
                field(record, "phrase", str, where),
                Nothing() if is_absent else _truth(record, file.parent, where),
                is_absent=is_absent,
            )


def _decoded(lines: Iterable[str], file: Path) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise InputError(
            f"expected text in UTF-8 in {file}, got {error}: save it as UTF-8"
        ) from error


def _read_line(line: str, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in {where}, got {error}: correct it") from error
    if not isinstance(record, dict):
        raise InputError(f"expected a record in {where}, got {line.strip()[:40]!r}: correct it")
    return record


def _truth(record: Mapping[str, Any], folder: Path, where: str) -> Truth:
    if "polygons" in record:
        return Polygons(read_polygons(record["polygons"], where))
    if "rle" in record:
        return RunLengths.of_coco(record["rle"], where)
    mask = folder / field(record, "mask", str, where)
    if not mask.is_file():
        raise InputError(f"expected the mask of {where} at {mask}, found none: correct the path")
    return MaskFile(mask)
