"""Arrays on disk with a row for each number, filled on first use and read ever after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import InputError
from ..whole_files import write_text

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""A row of each array, by name."""

_CHUNK = 32  # rows between two notes of how far the filling has come


class Kept:
    """The arrays of a folder."""

    def __init__(self, folder: Path, count: int) -> None:
        """Open what `fill` has filled.

        Args:
            folder: With a file for each array.
            count: How many rows there are.
        """
        self.count = count
        self._arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}

    def rows(self, numbers: Sequence[int]) -> dict[str, NDArray[Any]]:
        """These rows of each array, in memory."""
        return {
            name: np.stack([array[number] for number in numbers])
            for name, array in self._arrays.items()
        }


def fill(
    folder: Path,
    what: str,
    settings: Mapping[str, object],
    count: int,
    make: Callable[[int], Arrays],
) -> Kept:
    """The arrays of a folder, made as far as they are not yet there.

    Filling goes on where it was interrupted; its bar says how large the files are in all.

    Args:
        folder: Theirs alone.
        what: Their rows are, such as "views": the flag that says how many, too.
        settings: All that they depend on, for JSON.
        count: How many rows.
        make: A row, by its number; always the same.

    Raises:
        InputError: The folder has rows of other settings, or the disk lacks room.
    """
    settings = {**settings, "count": count}
    filled = _filled(folder, what, settings)
    if filled < count:
        first = make(filled)
        each = sum(array.nbytes for array in first.values())
        _check_room(folder, what, each * (count - filled))
        arrays = {name: _open(folder, name, array, count) for name, array in first.items()}
        title = f"{what}, {each * count / 1e9:.3g} GB in {folder}"
        left = range(filled, count)
        for index in tqdm(left, desc=title, unit="row", initial=filled, total=count):
            for name, array in (first if index == filled else make(index)).items():
                arrays[name][index] = array
            if (index + 1) % _CHUNK == 0 or index + 1 == count:
                for array in arrays.values():
                    array.flush()
                _note(folder, what, settings, index + 1)
    return Kept(folder, count)


def _filled(folder: Path, what: str, settings: Mapping[str, object]) -> int:
    """How many rows are there already.

    Raises:
        InputError: They are of other settings.
    """
    state = folder / f"{what}.json"
    if not state.is_file():
        return 0
    noted = json.loads(state.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(settings))
    for name in sorted({*wanted, *noted["settings"]}):
        before, now = noted["settings"].get(name), wanted.get(name)
        if before != now:
            raise InputError(
                f"expected {what} of {name} {now} in {folder}, found those of {before}: use the "
                "settings that they were made with, or another --folder, or delete them"
            )
    return int(noted["filled"])


def _check_room(folder: Path, what: str, wanted: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise InputError(
            f"expected room for {wanted / 1e9:.3g} GB of {what} in {folder}, the disk has "
            f"{free / 1e9:.3g} GB: lower --{what} or --side, or choose another --folder"
        )


def _open(folder: Path, name: str, array: NDArray[Any], count: int) -> np.memmap[Any, Any]:
    path = folder / f"{name}.npy"
    if path.is_file():
        existing: np.memmap[Any, Any] = np.load(path, mmap_mode="r+")
        if existing.shape == (count, *array.shape):
            return existing
    return np.lib.format.open_memmap(
        path, mode="w+", dtype=array.dtype, shape=(count, *array.shape)
    )


def _note(folder: Path, what: str, settings: Mapping[str, object], filled: int) -> None:
    """Say how far the filling has come, whole or not at all."""
    noted = {"settings": settings, "filled": filled}
    write_text(folder / f"{what}.json", json.dumps(noted, indent=2))
