"""The files of a set of weights, by their names.

A set is called by its stem: ``weights/unet`` is the file ``unet.safetensors``, or the shards
``unet-1of2.safetensors`` and ``unet-2of2.safetensors``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import CheckpointError

_SUFFIX = ".safetensors"
_SHARD = re.compile(r"-(\d+)of(\d+)$")
_PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}


def find_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a set of weights in the order of their numbers.

    Args:
        path: The stem, with or without ``.safetensors``, or any one of the shards.

    Raises:
        CheckpointError: There is none, a shard is missing, or files of several sets lie there.
    """
    if Path(path).suffix.lower() in _PICKLES:
        raise CheckpointError(
            f"expected a {_SUFFIX} file, got the pickle {path}: run `ldznet convert` on it first"
        )
    stem = stem_of(path)
    found = files_of(stem)
    if not found and Path(path).is_file():
        raise CheckpointError(
            f"expected a {_SUFFIX} file, got {path}, which is none by its name: choose another"
        )
    if not found:
        raise CheckpointError(
            f"expected weights at {stem}{_SUFFIX} or in its shards, found none: check the path"
        )
    count = _shard_count(found[-1])
    expected = [shard_file(stem, number, count) for number in range(1, count + 1)]
    if missing := [file.name for file in expected if file not in found]:
        raise CheckpointError(
            f"expected {count} shards of {stem}, {', '.join(missing)} missing: copy all of them"
        )
    if surplus := [file.name for file in found if file not in expected]:
        raise CheckpointError(
            f"expected one set of weights at {stem}, got {', '.join(surplus)} besides: "
            "remove what is out of date"
        )
    return expected


def stem_of(path: str | os.PathLike[str]) -> Path:
    """The stem that a path means, whichever of the set's files it names.

    Raises:
        CheckpointError: It names nothing.
    """
    given = Path(path)
    if not given.name:
        raise CheckpointError(f"expected the path of a weights file, got {str(path)!r}: name one")
    if not (name := name_of(given)):
        raise CheckpointError(
            f"expected a name in front of the ending of {str(path)!r}, got none: rename the file"
        )
    return given.with_name(name)


def name_of(file: Path) -> str:
    """The name of the set that a file belongs to; "" if it is nothing but an ending."""
    return _SHARD.sub("", file.name.removesuffix(_SUFFIX))


def shard_file(stem: Path, number: int, count: int) -> Path:
    """The file of a shard, counted from 1; of a single one, the file without a number."""
    part = "" if count == 1 else f"-{number}of{count}"
    return stem.with_name(f"{stem.name}{part}{_SUFFIX}")


def files_of(stem: Path) -> list[Path]:
    """Every file that bears the stem's name, of whatever number of shards."""
    if not stem.parent.is_dir():
        return []
    candidates = (file for file in stem.parent.iterdir() if file.name.endswith(_SUFFIX))
    named = (file for file in candidates if name_of(file))
    return sorted(file for file in named if stem_of(file) == stem and file.is_file())


def _shard_count(file: Path) -> int:
    match = _SHARD.search(file.name.removesuffix(_SUFFIX))
    return int(match[2]) if match else 1
