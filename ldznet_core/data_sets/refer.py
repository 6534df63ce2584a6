"""RefCOCO, RefCOCO+ and RefCOCOg, as their authors publish them.

The layout is that of lichengunc/refer@e3bbaa3, `README.md`, `data/README.md` and `refer.py`::

    refcoco/refs(unc).p        refcoco+/refs(unc).p       refcocog/refs(umd).p
    refcoco/instances.json     ... in COCO's format, one for each data set
    images/mscoco/images/train2014/COCO_train2014_000000000009.jpg

Each sentence about an object is a row. The pickles are read without running anything; the same
content as ``refs(unc).json`` does as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import InputError
from .plain_pickle import read_plain_pickle
from .reading import field, first_file, height_and_width, read_json, records
from .rows import Row, Truth, by_picture
from .shapes import Polygons, RunLengths, read_polygons

Referring: TypeAlias = Literal["refcoco", "refcoco+", "refcocog"]
Partition: TypeAlias = Literal["unc", "umd", "google"]

PARTITIONS: dict[Referring, Partition] = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd"}
"""Who split each data set, in the way that papers mostly use."""

_IMAGES = ("images/mscoco/images/train2014", "images/train2014", "train2014")


def read_refer(
    folder: Path, data: Referring, split: str, partition: Partition | None = None
) -> list[Row]:
    """The sentences of a split.

    Args:
        folder: The one that holds the data sets and the pictures.
        data: Which data set.
        split: train, val, test, testA or testB, as far as the partition has them; "test" is all
            of the tests together.
        partition: Who made the split; None is the usual one of `PARTITIONS`.

    Raises:
        InputError: A file is missing or damaged, or there is no such split.
    """
    partition = partition or PARTITIONS[data]
    names = [f"{data}/refs({partition}).{suffix}" for suffix in ("p", "json")]
    references = first_file(folder, names, f"the sentences of {data}")
    instances = first_file(folder, [f"{data}/instances.json"], f"the masks of {data}")
    images = first_file(folder, _IMAGES, "COCO's pictures")
    is_json = references.suffix == ".json"
    where = str(references)
    content = read_json(references) if is_json else read_plain_pickle(references)
    found = records(content, where)
    asked = [each for each in found if _is_in(split, field(each, "split", str, where))]
    if not asked:
        splits = ", ".join(sorted({str(each.get("split")) for each in found}))
        raise InputError(
            f"expected a split of {splits} in {where}, got {split!r}: name one of them"
        )
    return by_picture(_rows(asked, where, _read_instances(instances), images))


class _Instances:
    """COCO's pictures and masks by their numbers."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self.where = where
        self.images = {
            field(each, "id", int, where): each
            for each in records(content.get("images"), f'"images" of {where}')
        }
        self.masks = {
            field(each, "id", int, where): each.get("segmentation")
            for each in records(content.get("annotations"), f'"annotations" of {where}')
        }

    def image(self, number: int) -> Mapping[str, Any]:
        """A picture's record."""
        return self._found(self.images, number, "picture")  # type: ignore[no-any-return]

    def truth(self, number: int) -> Truth:
        """A mask as polygons or run lengths."""
        stored = self._found(self.masks, number, "mask")
        if isinstance(stored, dict):
            return RunLengths.of_coco(stored, self.where)
        return Polygons(read_polygons(stored, self.where))

    def _found(self, among: Mapping[int, Any], number: int, what: str) -> Any:
        if number not in among:
            raise InputError(
                f"expected the {what} {number} in {self.where}, got none: take both files of the "
                "data set from one download"
            )
        return among[number]


def _read_instances(path: Path) -> _Instances:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"expected COCO's instances in {path}, got something else: fetch it again")
    return _Instances(content, str(path))


def _is_in(split: str, own: str) -> bool:
    """Whether a reference is of a split: "testA" holds those of "testAB" too."""
    if split == "test" or (len(split) == 5 and split.startswith("test")):
        return own.startswith("test") and split[4:] in own[4:]
    return own == split


def _rows(
    asked: list[Mapping[str, Any]], where: str, instances: _Instances, images: Path
) -> Iterator[Row]:
    for each in asked:
        image = instances.image(field(each, "image_id", int, where))
        picture = images / field(image, "file_name", str, instances.where)
        truth = instances.truth(field(each, "ann_id", int, where))
        size = height_and_width(image, instances.where)
        for sentence in records(field(each, "sentences", list, where), where):
            yield Row(picture, field(sentence, "sent", str, where), truth, size=size)
