"""Folders like AIGI's: generated pictures, masks, and what each mask is called.

The LD-ZNet authors give 100 pictures with 214 labelled objects in a Drive folder that their
`README.md` links to (koutilya-pnvr/LD-ZNet@3d28f76); neither it, their page nor their code says
how the folder is laid out. Two layouts are read, with pictures in ``images/`` and masks in
``masks/``:

- a table, ``prompts.json`` or ``prompts.csv`` (or the one such file that there is), whose records
  name an ``image``, a ``mask`` and a ``prompt``, by paths from these folders or from the table's;
  ``file_name`` does for the first, ``phrase``, ``caption``, ``text`` or ``label`` for the last;
- without a table, masks named ``<picture>_<phrase>.png``, as the authors' notebook
  (`testing_scripts/img2mask.ipynb`) names its own.

Masks of one picture and one phrase are one mask together.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .reading import read_json, records
from .rows import Row, Truth, by_picture
from .shapes import Mask, MaskFile

_TABLES = ("prompts.json", "prompts.csv", "annotations.json", "annotations.csv")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_IMAGE_KEYS = ("image", "file_name", "img")
_PHRASE_KEYS = ("prompt", "phrase", "caption", "text", "label")
_NAMED = "<picture>_<phrase>.png"


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """The masks of several objects of one name."""

    parts: tuple[Truth, ...]

    def mask(self, size: tuple[int, int]) -> Mask:
        """Every pixel that is in one of them."""
        found: Mask = np.logical_or.reduce([part.mask(size) for part in self.parts])
        return found


def read_aigi(folder: Path) -> list[Row]:
    """The phrases of a folder, which has no splits.

    Raises:
        InputError: Something is missing or damaged.
    """
    images, masks = _part(folder, "images"), _part(folder, "masks")
    table = _find_table(folder)
    named = _by_table(table, images, masks) if table else _by_names(folder, images, masks)
    found: dict[tuple[Path, str], list[Truth]] = {}
    for picture, phrase, mask in named:
        found.setdefault((picture, phrase), []).append(MaskFile(mask))
    return by_picture(
        Row(picture, phrase, truths[0] if len(truths) == 1 else Union(tuple(truths)))
        for (picture, phrase), truths in found.items()
    )


def _part(folder: Path, name: str) -> Path:
    """The folder's part of this name in any case; the folder itself if it has none."""
    parts = sorted(each for each in folder.iterdir() if each.is_dir())
    return next((each for each in parts if each.name.casefold() == name), folder)


def _find_table(folder: Path) -> Path | None:
    usual = [folder / name for name in _TABLES if (folder / name).is_file()]
    others = sorted(each for each in folder.iterdir() if each.suffix in (".json", ".csv"))
    if usual or len(others) == 1:
        return (usual or others)[0]
    if others:
        raise InputError(
            f"expected one table of prompts in {folder}, got {len(others)}: name it {_TABLES[0]} "
            f"or {_TABLES[1]}"
        )
    return None


def _by_table(table: Path, images: Path, masks: Path) -> list[tuple[Path, str, Path]]:
    named = []
    for record in _read_table(table):
        image, mask = _value(record, _IMAGE_KEYS, table), _value(record, ("mask",), table)
        named.append(
            (
                _file(images, image, table),
                _value(record, _PHRASE_KEYS, table),
                _file(masks, mask, table),
            )
        )
    return named


def _read_table(table: Path) -> Iterable[Mapping[str, Any]]:
    if table.suffix == ".json":
        return records(read_json(table), str(table))
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except (ValueError, csv.Error) as error:
        raise InputError(f"expected a table in {table}, got {error}: save it anew") from error


def _value(record: Mapping[str, Any], names: tuple[str, ...], table: Path) -> str:
    value = next((record[name] for name in names if record.get(name)), None)
    if not isinstance(value, str):
        raise InputError(
            f"expected a text under {' or '.join(names)} in each record of {table}, got "
            f"{', '.join(map(str, record))[:80]}: rename the column"
        )
    return value


def _file(folder: Path, name: str, table: Path) -> Path:
    """A file by its path from its own folder or from the table's."""
    for path in (folder / name, table.parent / name):
        if path.is_file():
            return path
    raise InputError(
        f"expected {folder / name}, which {table.name} names, found none: put the file there"
    )


def _by_names(folder: Path, images: Path, masks: Path) -> list[tuple[Path, str, Path]]:
    named = []
    if images != masks:
        pictures = {each.stem: each for each in sorted(images.iterdir()) if _is_picture(each)}
        for mask in sorted(filter(_is_picture, masks.iterdir())):
            stems = [stem for stem in pictures if mask.stem.startswith(f"{stem}_")]
            if stems:  # a picture's own name may hold underscores: the longest that fits is meant
                stem = max(stems, key=len)
                named.append((pictures[stem], mask.stem[len(stem) + 1 :], mask))
    if not named:
        raise InputError(
            f"expected a table {_TABLES[0]} or {_TABLES[1]} in {folder}, or masks in masks/ "
            f"that are named {_NAMED}, got neither: write the table"
        )
    return named


def _is_picture(path: Path) -> bool:
    return path.suffix.casefold() in _PICTURES
