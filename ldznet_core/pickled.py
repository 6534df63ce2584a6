"""PyTorch's pickled checkpoints, opened without running what is in them, read tensor by tensor.

Only tensors and plain values are let through (``weights_only=True``). A checkpoint of ten gigabytes
costs no more memory than the tensors that are asked for.
"""

from __future__ import annotations

import codecs
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError

_FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")
"""What PyTorch's loader names when a pickle asks for anything but tensors and plain values."""


class PickledTensors(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name; each is read from the file when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Open a checkpoint of PyTorch 1.6 or newer.

        Raises:
            CheckpointError: It is missing or damaged, holds more than tensors and plain values, or
                no tensors by name.
        """
        self._path = path
        _check_archive(path)
        self._tensors = _named_tensors(_load(path), path)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return tuple(self._tensors[name].shape)

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        storage = tensor.untyped_storage()
        # Where the values lie in the file (PyTorch's notes on serialization; new in 2.5).
        start: int | None = getattr(storage, "_checkpoint_offset", None)
        if start is None:
            return tensor
        return self._read(name, start, storage.nbytes())

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _read(self, name: str, start: int, size: int) -> Tensor:
        tensor = self._tensors[name]
        if not size:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        if start + size > self._path.stat().st_size:
            raise _unreadable(self._path, f"less than the {size} bytes of {name}")
        with self._path.open("rb") as file:
            file.seek(start)
            data = bytearray(file.read(size))
        try:
            flat = torch.frombuffer(data, dtype=tensor.dtype)
            return flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        except (RuntimeError, ValueError) as error:
            raise _unreadable(self._path, f"{name} of another size than it says") from error


def _check_archive(path: Path) -> None:
    """Refuse what is no archive, or one that would swell when it is opened."""
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint at {path}, found none: check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [entry for entry in archive.infolist() if entry.compress_type]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(path, _first_line(error)) from error
    if packed:
        raise _unreadable(path, f"{packed[0].filename} compressed, which PyTorch never does")


def _load(path: Path) -> Any:
    options: dict[str, Any] = {"map_location": "meta"}
    if not hasattr(torch.serialization, "safe_globals"):  # before PyTorch 2.5
        options = {"map_location": "cpu", "mmap": True}
    try:
        with _numpy_scalars_allowed():
            return torch.load(path, weights_only=True, **options)
    except Exception as error:  # a damaged pickle can fail in any way
        if forbidden := _FORBIDDEN.search(str(error)):
            raise CheckpointError(
                f"expected tensors and plain values alone in {path}, got {forbidden[1]}, which "
                "could run code: ask its makers for safetensors"
            ) from error
        raise _unreadable(path, f"a damaged pickle ({type(error).__name__})") from error


def _numpy_scalars_allowed() -> AbstractContextManager[object]:
    """A context in which single numbers of numpy pass, as trainers store losses and rates.

    Making one runs nothing but numpy's own constructor.
    """
    if not hasattr(torch.serialization, "safe_globals"):
        return nullcontext()
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    dtypes = {type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64, np.bool_)}
    allowed: list[Any] = [*((scalar, name) for name in names), np.dtype, *dtypes, codecs.encode]
    context: AbstractContextManager[object] = torch.serialization.safe_globals(allowed)
    return context


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict itself, or the one in a trainer's checkpoint."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise _unreadable(path, f"a {type(content).__name__}")
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
    }
    if not tensors:
        raise _unreadable(path, "no tensors by name")
    return tensors


def _unreadable(path: Path, got: str) -> CheckpointError:
    return CheckpointError(
        f"expected a checkpoint of PyTorch 1.6 or newer in {path}, got {got}: fetch the file again"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
