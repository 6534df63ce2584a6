"""PhraseCut (VGPhraseCut_v0), as its downloader leaves it.

The layout is that of ChenyunWu/PhraseCutDataset@276470b, `README.md` and `utils/file_paths.py`::

    refer_<split>.json       tasks: task_id, image_id, phrase, Polygons (instances of polygons)
    image_data_split.json    or image_data_split3000.json: image_id, width, height, split
    images/<image_id>.jpg    of Visual Genome
    skip.json                optional: phrases that annotators left out, with their reasons

From `skip.json` come the phrases that an annotator found "Not in Image": they count as absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from ..errors import InputError
from .reading import field, first_file, height_and_width, read_json, records
from .rows import Row, by_picture
from .shapes import Corners, Nothing, OutlinedPolygons, read_polygons

SPLITS = ("train", "val", "test", "miniv")

_INFO = ("image_data_split.json", "image_data_split3000.json")
_NESTED = Path("data", "VGPhraseCut_v0")  # in a clone of the authors' repository
_NOT_THERE = "not in image"

Sizes = Mapping[int, tuple[int, int]]


def read_phrasecut(folder: Path, split: str) -> list[Row]:
    """The phrases of a split, or of several that underscores join, as in "val_miniv".

    Args:
        folder: The data set's, or a clone of the authors' repository around it.
        split: Of train, val, test and miniv.

    Raises:
        InputError: A file is missing or damaged, or there is no such split.
    """
    splits = split.split("_")
    if not set(splits) <= set(SPLITS):
        raise InputError(
            f"expected a split of {', '.join(SPLITS)} or some joined by _, got {split!r}: name one"
        )
    folder = folder / _NESTED if (folder / _NESTED).is_dir() else folder
    info = first_file(folder, _INFO, "the sizes of PhraseCut's pictures")
    images = first_file(folder, ["images"], "the pictures of Visual Genome")
    files = [first_file(folder, [f"refer_{each}.json"], "PhraseCut's phrases") for each in splits]
    sizes = {
        field(record, "image_id", int, str(info)): height_and_width(record, str(info))
        for record in records(read_json(info), str(info))
        if record.get("split") in splits
    }
    rows = [row for file in files for row in _present(file, images, sizes)]
    skipped = folder / "skip.json"
    if skipped.is_file():
        rows += _absent(skipped, images, sizes, {row.picture for row in rows})
    return by_picture(rows)


def _present(file: Path, images: Path, sizes: Sizes) -> Iterator[Row]:
    where = str(file)
    for record in records(read_json(file), where):
        number = field(record, "image_id", int, where)
        if number not in sizes:
            raise InputError(
                f"expected the picture {number} of {where} among the sizes of its split, got none: "
                "take both files from one version of PhraseCut"
            )
        polygons: list[Corners] = []
        for instance in field(record, "Polygons", list, where):
            polygons += read_polygons(instance, where)
        yield Row(
            images / f"{number}.jpg",
            field(record, "phrase", str, where),
            OutlinedPolygons(polygons),
            size=sizes[number],
        )


def _absent(file: Path, images: Path, sizes: Sizes, asked: Set[Path]) -> Iterator[Row]:
    """Phrases of pictures that are asked about anyway."""
    where = str(file)
    for record in records(read_json(file), where):
        number = field(record, "image_id", int, where)
        picture = images / f"{number}.jpg"
        if picture in asked and _says_not_there(record.get("reason")):
            phrase = field(record, "phrase", str, where)
            yield Row(picture, phrase, Nothing(), is_absent=True, size=sizes[number])


def _says_not_there(reason: Any) -> bool:
    return str(reason).strip().casefold() == _NOT_THERE
