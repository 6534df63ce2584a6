"""PyTorch's pickled checkpoints, opened without running what is in them, read tensor by tensor.

Only tensors and plain values are let through (``weights_only=True``). A checkpoint of ten gigabytes
costs no more memory than the tensors that are asked for.
"""

from __future__ import annotations

import math
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from .errors import CheckpointError, first_line
from .screening import ForbiddenError, check_pickle
from .weights import shown

_FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")
"""What PyTorch's loader names when a pickle asks for anything but tensors and plain values."""

_NUMPY = (
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),  # since numpy 2
)

Records = dict[int, zipfile.ZipInfo]


class PickledTensors(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name; each is read from the file when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Open a checkpoint of PyTorch 1.6 or newer.

        Raises:
            CheckpointError: It is missing or damaged, holds more than tensors and plain values, or
                no tensors by name.
        """
        self._path = path
        self._records = _checked_records(path)
        self._tensors = _named_tensors(_load(path), path)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        storage = tensor.untyped_storage()
        if math.prod(tensor.shape) * tensor.element_size() > storage.nbytes():
            raise _unreadable(self._path, f"{shown(name)} of more values than are stored for it")
        # Where the values lie in the file (PyTorch's notes on serialization; new in 2.5).
        start: int | None = getattr(storage, "_checkpoint_offset", None)
        if start is not None:
            return self._read(name, start, storage.nbytes())
        if tensor.is_meta:
            raise _unreadable(self._path, f"{shown(name)} without values")
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _read(self, name: str, start: int, size: int) -> Tensor:
        tensor = self._tensors[name]
        if not size:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        record = self._records.get(start)
        if record is None or record.file_size != size:
            raise _unreadable(self._path, f"{shown(name)} of another size than it says")
        with self._path.open("rb") as file:
            data = _read_record(file, start, record, self._path)
        try:
            flat = torch.frombuffer(data, dtype=tensor.dtype)
            return flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        except (RuntimeError, TypeError, ValueError) as error:
            raise _unreadable(self._path, f"{shown(name)} of another size than it says") from error


def _checked_records(path: Path) -> Records:
    """The archive's records by where their content begins in the file.

    Raises:
        CheckpointError: It is no archive of PyTorch's, or one that would swell when it is opened.
    """
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint at {path}, found none: check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        _check_entries(entries, path)
        with path.open("rb") as file:
            records = {_start_of(file, entry): entry for entry in entries}
            for start, entry in records.items():
                if check := _CHECKS.get(_name_of(entry)):
                    check(bytes(_read_record(file, start, entry, path)))
    except ForbiddenError as error:
        raise _forbidden(path, shown(str(error))) from error
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(path, first_line(error)) from error
    return records


def _check_entries(entries: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse an archive that PyTorch would not have written."""
    if packed := [entry for entry in entries if entry.compress_type]:
        raise _unreadable(path, f"{shown(packed[0].filename)} compressed, which PyTorch never does")
    if lying := [entry for entry in entries if entry.file_size != entry.compress_size]:
        raise _unreadable(path, f"{shown(lying[0].filename)} of two sizes")
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise _unreadable(path, "two records of one name")
    if "constants.pkl" in map(_name_of, entries):
        raise _unreadable(path, "a program (TorchScript)")
    folders = {entry.filename.partition("/")[0] for entry in entries}
    pickles = [entry for entry in entries if _name_of(entry) == "data.pkl"]
    if len(folders) != 1 or len(pickles) != 1:
        raise _unreadable(path, f"an archive of {len(folders)} folders with {len(pickles)} pickles")


def _name_of(entry: zipfile.ZipInfo) -> str:
    """A record's name in its archive's folder, without regard to case, as PyTorch looks for it."""
    return entry.filename.partition("/")[2].lower()


def _check_byte_order(content: bytes) -> None:
    if content != sys.byteorder.encode():
        raise ValueError(
            f"numbers in the byte order {content[:8]!r}, where {sys.byteorder} is ours"
        )


def _check_alignment(content: bytes) -> None:
    if not re.fullmatch(rb"[1-9]\d{0,5}", content):
        raise ValueError(f"an alignment of {content[:8]!r}")


_CHECKS = {
    "data.pkl": check_pickle,
    # On other values than these, PyTorch 2.13 ends the process.
    "byteorder": _check_byte_order,
    ".storage_alignment": _check_alignment,
}


def _start_of(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where a record's content begins: behind a header whose last two fields vary in length."""
    file.seek(entry.header_offset + 26)
    lengths = file.read(4)
    name_length, extra_length = lengths[:2], lengths[2:]
    return (
        entry.header_offset
        + 30
        + int.from_bytes(name_length, "little")
        + int.from_bytes(extra_length, "little")
    )


def _read_record(file: BinaryIO, start: int, record: zipfile.ZipInfo, path: Path) -> bytearray:
    """A record's content, the same as when it was written."""
    size = record.file_size
    if start + size > path.stat().st_size:
        raise _unreadable(path, f"less than the {size} bytes of {shown(record.filename)}")
    file.seek(start)
    data = bytearray(file.read(size))
    if record.CRC and zlib.crc32(data) != record.CRC:  # 0: PyTorch was told not to count it
        raise _unreadable(path, f"{shown(record.filename)} with other bytes than were written")
    return data


def _load(path: Path) -> Any:
    options: dict[str, Any] = {"map_location": "meta"}
    if not hasattr(torch.serialization, "safe_globals"):  # before PyTorch 2.5
        options = {"map_location": "cpu", "mmap": True}
    try:
        with _numpy_scalars_forgotten():
            # PyTorch 2.1 maps a file by its name alone.
            return torch.load(str(path), weights_only=True, **options)
    except Exception as error:  # a damaged pickle can fail in any way
        if forbidden := _FORBIDDEN.search(str(error)):
            raise _forbidden(path, forbidden[1]) from error
        raise _unreadable(path, f"a damaged pickle ({type(error).__name__})") from error


def _numpy_scalars_forgotten() -> AbstractContextManager[object]:
    """A context in which single numbers of numpy pass, as trainers store losses and rates.

    They are not made: nothing of numpy's runs.
    """
    if not hasattr(torch.serialization, "safe_globals"):
        return nullcontext()
    stand_ins: list[Any] = [
        type(name, (_Forgotten,), {"__module__": module}) for module, name in _NUMPY
    ]
    context: AbstractContextManager[object] = torch.serialization.safe_globals(stand_ins)
    return context


class _Forgotten:
    """Stands where something was that nobody reads."""

    def __init__(self, *parts: object) -> None:
        """Forget them."""

    def __setstate__(self, state: object) -> None:
        """Forget it."""


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict itself, or the one in a trainer's checkpoint.

    A pickle may put values in the place of a dictionary's methods: these are the class's own.
    """
    if isinstance(content, dict) and isinstance(dict.get(content, "state_dict"), dict):
        content = dict.get(content, "state_dict")
    if not isinstance(content, dict):
        raise _unreadable(path, f"a {type(content).__name__}")
    tensors = {
        name: value.detach()
        for name, value in dict.items(content)
        if isinstance(name, str) and type(value) in (Tensor, nn.Parameter) and _is_plain(value)
    }
    if not tensors:
        raise _unreadable(path, "no tensors by name")
    return tensors


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not (
        tensor.is_quantized or tensor.is_conj() or tensor.is_neg()
    )


def _unreadable(path: Path, got: str) -> CheckpointError:
    return CheckpointError(
        f"expected a checkpoint of PyTorch 1.6 or newer in {path}, got {got}: fetch the file again"
    )


def _forbidden(path: Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"expected tensors and plain values alone in {path}, got {name}, which might do "
        "harm: ask its makers for safetensors"
    )
