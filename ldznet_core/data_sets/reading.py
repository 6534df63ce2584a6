"""Files of data sets, and their fields, with sentences on what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError

Kind = TypeVar("Kind")


def first_file(folder: Path, names: Iterable[str], what: str) -> Path:
    """The first of some files or folders that is there.

    Raises:
        InputError: None is.
    """
    tried = list(names)
    for name in tried:
        if (folder / name).exists():
            return folder / name
    raise InputError(f"expected {what} in {folder / tried[0]}, found nothing: download it to there")


def read_json(path: Path) -> Any:
    """What a file of JSON holds.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in {path}, got {error}: fetch the file again") from error


def records(content: object, where: str) -> list[Mapping[str, Any]]:
    """A list of dictionaries.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise InputError(
            f"expected a list of records in {where}, got something else: fetch it anew"
        )
    return content


def field(record: Mapping[str, Any], name: str, kind: type[Kind], where: str) -> Kind:
    """A field of a record.

    Raises:
        InputError: It is missing, or of another kind.
    """
    value = record.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        got = "none" if value is None else f"{str(value)[:40]!r}"
        raise InputError(
            f'expected "{name}" ({kind.__name__}) in a record of {where}, got {got}: correct the '
            "record"
        )
    return value


def height_and_width(record: Mapping[str, Any], where: str) -> tuple[int, int]:
    """The (height, width) that a record states.

    Raises:
        InputError: It does not.
    """
    return field(record, "height", int, where), field(record, "width", int, where)
