"""The heads that a user can choose, and the one that is in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from ldznet_core import (
    InputError,
    UnsupportedModelError,
    load_head,
    read_config,
)
from ldznet_core.auto_head import AUTO_HEAD, family_of_head, fitting_head
from ldznet_core.capture import aim_of
from ldznet_core.checkpoint import BUILT_IN
from ldznet_core.head import AnyHead
from ldznet_core.shards import files_of, find_files, name_of, stem_of
from ldznet_core.training_free import TRAINING_FREE, TrainingFree

from .listening import Wanted

_SUFFIX = ".safetensors"


def list_heads(folder: Path) -> list[str]:
    """The built-in heads, none at all, then those in the folder; several files may be one head."""
    files = sorted(folder.rglob(f"*{_SUFFIX}")) if folder.is_dir() else []
    named = (file for file in files if name_of(file))
    stems = dict.fromkeys(stem_of(file).relative_to(folder).as_posix() for file in named)
    return [*BUILT_IN, TRAINING_FREE, *(f"{stem}{_SUFFIX}" for stem in stems)]


def choose_head(name: str, family: str, folder: Path) -> str:
    """The head that is meant by a name: itself, or for "auto" the first that fits the family.

    Where no trained head fits, "auto" means "training-free".

    Raises:
        InputError: There is none of this name.
        UnsupportedModelError: It does not fit.
    """
    names = list_heads(folder)
    if name != AUTO_HEAD:
        if name not in names:
            raise InputError(
                f"expected one of the heads {', '.join([AUTO_HEAD, *names])}, got {name[:80]!r}: "
                f"put the file into {folder}"
            )
        _check_family(name, family, folder)
        return name
    trained = (each for each in names if each != TRAINING_FREE)
    return fitting_head(family, trained, partial(_source, folder=folder))


def wanted_by(name: str, family: str, folder: Path) -> Wanted:
    """Where in a UNet a head listens, and to which passes.

    Args:
        name: From `choose_head`.
        family: Of the UNet.
        folder: Of the user's heads.

    Raises:
        CheckpointError: The head's file is damaged, or holds none.
        UnsupportedModelError: Masks without a trained head are not to be had of this family.
    """
    if name == TRAINING_FREE:
        free = TrainingFree().for_family(family)
        return Wanted(free.taps_of, aim_of(free.config.timestep))
    config = read_config(_source(name, folder))
    return Wanted(config.taps_of, aim_of(config.timestep))


def reads_features(name: str, folder: Path) -> bool:
    """Whether a head, by a name from `choose_head`, wants to know of the model's passes at all.

    Raises:
        CheckpointError: Its file is missing or damaged.
    """
    return name == TRAINING_FREE or read_config(_source(name, folder)).reads != "nothing"


def head_files(name: str, folder: Path) -> list[Path]:
    """The files of a head, by a name from `choose_head`; of "training-free" none."""
    return [] if name == TRAINING_FREE else _files(_source(name, folder))


def _check_family(name: str, family: str, folder: Path) -> None:
    """Refuse a trained head of another family; what a damaged file is, is said when it is loaded.

    Raises:
        UnsupportedModelError: It is of another.
    """
    locate = partial(_source, folder=folder)
    its_own = "" if name == TRAINING_FREE else family_of_head(name, locate)
    if its_own not in ("", family):
        raise UnsupportedModelError(
            f"expected a head for {family}, as the checkpoint is, got {name}, which is for "
            f"{its_own}: choose {AUTO_HEAD} or {TRAINING_FREE}"
        )


def _source(name: str, folder: Path) -> str | Path:
    return name if name in BUILT_IN else folder / name


class _Loaded(NamedTuple):
    source: str | Path
    dtype: torch.dtype
    stamp: tuple[tuple[Path, int, int], ...]
    head: AnyHead


class HeadKeeper:
    """Keeps the head that was used last; it is on its device only while it works."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._loaded: _Loaded | None = None
        self._lock = threading.RLock()

    @contextmanager
    def at_work(
        self, name: str, folder: Path, device: torch.device, dtype: torch.dtype
    ) -> Iterator[AnyHead | TrainingFree]:
        """A head on its device, and back in the CPU's memory at the end; or none at all.

        Args:
            name: From `choose_head`.
            folder: Where users put heads.
            device: Where it works.
            dtype: What it computes in.

        Raises:
            CheckpointError: Its file is missing or damaged.
        """
        if name == TRAINING_FREE:  # it weighs nothing, and the one that is kept may stay
            yield TrainingFree()
            return
        with self._lock:
            head = self._head(_source(name, folder), dtype)
            try:
                yield head.to(device)
            finally:  # also where it did not fit, and is half there
                head.to("cpu")

    def forget(self) -> None:
        """Let go of the head's memory."""
        with self._lock:
            self._loaded = None

    def _head(self, source: str | Path, dtype: torch.dtype) -> AnyHead:
        stamp = _stamp(source)
        kept = self._loaded
        if kept is None or (kept.source, kept.dtype, kept.stamp) != (source, dtype, stamp):
            self._loaded = kept = None  # first, so that two are never in memory
            kept = self._loaded = _Loaded(source, dtype, stamp, load_head(source, dtype=dtype))
        return kept.head


def _stamp(source: str | Path) -> tuple[tuple[Path, int, int], ...]:
    """What tells that files were replaced."""
    return tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in _files(source))


def _files(source: str | Path) -> list[Path]:
    return files_of(BUILT_IN[source]) if isinstance(source, str) else find_files(source)


KEEPER = HeadKeeper()
"""The one of this process."""
