"""Any of the data sets, by the name of its format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from ..errors import InputError
from .aigi import read_aigi
from .lines import read_lines
from .phrasecut import read_phrasecut
from .refer import Partition, read_refer
from .rows import Row

Format: TypeAlias = Literal["phrasecut", "refcoco", "refcoco+", "refcocog", "aigi", "jsonl"]

FORMATS: dict[Format, str] = {
    "phrasecut": "test",
    "refcoco": "val",
    "refcoco+": "val",
    "refcocog": "val",
    "aigi": "all",
    "jsonl": "test",
}
"""Every format and the split that is measured unless another is named."""


def read_data(
    folder: Path, data: Format, split: str = "", partition: Partition | None = None
) -> list[Row]:
    """The rows of a split, those of a picture together; masks are drawn when they are asked for.

    Args:
        folder: Where the data set lies.
        data: Its format.
        split: As its authors name it; none is the format's own of `FORMATS`.
        partition: Of the RefCOCO family: whose split.

    Raises:
        InputError: Something is missing or damaged.
    """
    if not folder.exists():
        raise InputError(f"expected a data set at {folder}, found nothing: check the path")
    split = split or FORMATS[data]
    if data == "phrasecut":
        return read_phrasecut(folder, split)
    if data == "aigi":
        return read_aigi(folder)
    if data == "jsonl":
        return read_lines(folder, split)
    return read_refer(folder, data, split, partition)
