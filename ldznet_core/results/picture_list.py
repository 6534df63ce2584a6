"""The pictures that a command line names, and the folder in which each one's results go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import InputError
from .folders import REPORT


@dataclass(frozen=True, slots=True)
class Job:
    """A picture to be masked."""

    path: Path
    folder: str
    """Below the folder of all results; "." if this is the only picture that was named."""
    is_named: bool
    """Whether it was named itself, and not found in a folder."""


def list_jobs(given: Sequence[Path], out: Path, reserved: Collection[str] = ()) -> list[Job]:
    """Every picture that the paths name, in a fixed order; of a folder, those right in it.

    Args:
        given: Pictures and folders.
        out: The folder of all results.
        reserved: Names in that folder, beside its report's, that no picture's folder may take.

    Raises:
        InputError: A folder holds no picture.
    """
    if len(given) == 1 and not given[0].is_dir():
        return [Job(given[0], ".", is_named=True)]
    jobs: list[Job] = []
    taken = {REPORT, *reserved}
    for path in given:
        is_named = not path.is_dir()
        for picture in [path] if is_named else _pictures_in(path, out):
            name = _free_name(picture.stem, taken)
            taken.add(name.casefold())  # to many file systems "Cat" and "cat" are one
            jobs.append(Job(picture, name, is_named))
    return jobs


def _pictures_in(folder: Path, out: Path) -> list[Path]:
    known = {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in known]
    pictures = [path for path in found if path.is_file() and not path.name.startswith(".")]
    if not pictures or folder.resolve() == out.resolve():
        raise InputError(
            f"expected pictures in the folder {folder}, apart from the results in {out}, got "
            f"{len(pictures)} in {'one and the same' if pictures else 'it'}: name other folders"
        )
    return pictures


def _free_name(stem: str, taken: set[str]) -> str:
    number = 1
    while (name := f"{stem}{f'-{number}' if number > 1 else ''}").casefold() in taken:
        number += 1
    return name
