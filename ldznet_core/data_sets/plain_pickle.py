"""Pickles of plain values: lists, dictionaries, texts and numbers, and nothing that runs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InputError


class _PlainUnpickler(pickle.Unpickler):
    """Knows no function and no class, so that a pickle can call none."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _ForbiddenError(f"{module}.{name}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise _ForbiddenError("something outside of the file")


class _ForbiddenError(Exception):
    """A pickle asks for more than plain values; the message is what."""


def read_plain_pickle(path: Path) -> Any:
    """What a pickle holds; texts of Python 2 are read as UTF-8.

    Raises:
        InputError: It is damaged, or asks for a function or a class.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8", errors="replace").load()
    except _ForbiddenError as error:
        raise InputError(
            f"expected plain values alone in {path}, got {error}, which might do harm: fetch the "
            "file from its authors"
        ) from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(
            f"expected a pickle of plain values in {path}, got a damaged one "
            f"({type(error).__name__}): fetch the file again"
        ) from error
