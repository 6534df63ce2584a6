"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A draft beside a file, which takes the file's place once the block has ended well.

    The file's folder is made where there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, ended by a new line."""
    with drafted(path) as draft:
        draft.write_text(f"{text}\n", encoding="utf-8")


def write_picture(path: Path, picture: Image) -> None:
    """Write a picture in the form that the file's ending names, and as PNG if it names none."""
    from PIL import Image

    form = Image.registered_extensions().get(path.suffix.lower(), "PNG")
    with drafted(path) as draft:
        picture.save(draft, format=form)


def check_writable(*paths: Path | None) -> None:
    """Refuse files that cannot be written before all work is done for them.

    Args:
        paths: The files; None is left out.

    Raises:
        InputError: One of them is a folder, or lies in a file.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"expected a file to write to, got the folder {path}: name one in it")
        nearest = _nearest(path.absolute().parent)
        if not nearest.is_dir():
            raise InputError(
                f"expected a folder for {path.name}, got the file {nearest}: name another"
            )


def check_folder(folder: Path) -> None:
    """Refuse a folder for results that cannot be made.

    Raises:
        InputError: It is a file, or lies in one.
    """
    nearest = _nearest(folder.absolute())
    if not nearest.is_dir():
        raise InputError(f"expected a folder for the results, got the file {nearest}: name another")


@contextmanager
def room_beside(folder: Path) -> Iterator[Path]:
    """An empty folder on the disk of another, in which its files are made; gone after the block.

    Args:
        folder: Where they will go; it need not be there.

    Raises:
        InputError: It is a file, or lies in one.
    """
    check_folder(folder)
    nearest = _nearest(folder.absolute().parent)
    room = Path(tempfile.mkdtemp(prefix=".ldznet-", dir=nearest))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _nearest(path: Path) -> Path:
    """The path, or the nearest around it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())
