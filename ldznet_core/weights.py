"""Weights on disk: safetensors in shards that a git forge takes, each with the metadata.

A set of weights is replaced as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import CheckpointError
from .shards import files_of, find_files, shard_file, stem_of

__all__ = [
    "SHARD_BYTES",
    "find_files",
    "find_one_set",
    "read_header",
    "read_id",
    "read_metadata",
    "read_weights",
    "shown",
    "write_weights",
]

SHARD_BYTES = 15 * 2**20
"""The largest weights file that the repository takes."""

_SET_ID = "weights_id"
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What safetensors calls the dtypes that weights come in."""

_HEADER_BYTES_PER_TENSOR = 160  # name apart: dtype, shape, offsets and the JSON around them


def write_weights(
    state_dict: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str],
    max_shard_bytes: int | None = SHARD_BYTES,
) -> list[Path]:
    """Write a set of weights in the place of whatever had its name; the files written.

    All shards are complete under other names before the first takes its own, and a mixture of two
    sets is refused when it is read: an interrupted call never passes for weights.

    Args:
        state_dict: Tensors by name, on any device.
        path: The stem, with or without ``.safetensors``; its folder is made where there is none.
        metadata: Strings for the header of each file.
        max_shard_bytes: Largest file; None writes a single one.

    Raises:
        CheckpointError: The files cannot be written.
    """
    stem = stem_of(path)
    tensors = {name: _stored(tensor) for name, tensor in state_dict.items()}
    header = {**metadata, _SET_ID: _digest(tensors, metadata)}
    shards = _split(tensors, header, max_shard_bytes)
    files = [shard_file(stem, number, len(shards)) for number in range(1, len(shards) + 1)]
    drafts = [file.with_name(f".{file.name}.{os.getpid()}.tmp") for file in files]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for draft, names in zip(drafts, shards, strict=True):
            _write(draft, {name: tensors[name] for name in names}, header)
        for draft, file in zip(drafts, files, strict=True):
            os.replace(draft, file)
        for stale in set(files_of(stem)) - set(files):
            stale.unlink()
    except OSError as error:
        raise CheckpointError(
            f"expected to write {files[0]}, got {error}: check the folder and its free space"
        ) from error
    finally:
        for draft in drafts:
            with suppress(OSError):
                draft.unlink()
    return files


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A set of weights on the CPU in its stored dtypes, and its metadata.

    Args:
        path: The stem, with or without ``.safetensors``, or any one of the shards.

    Raises:
        CheckpointError: A file is missing, damaged, no safetensors, or of another set.
    """
    tensors: dict[str, Tensor] = {}
    files = find_one_set(path)
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                # Copies, so that the file may be replaced while its weights are in use.
                tensors |= {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError) as error:
            raise _unreadable(file, error) from error
    return tensors, _public(read_header(files[0]))


def find_one_set(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a set of weights, which were written together; only headers are read.

    Raises:
        CheckpointError: As `read_weights`.
    """
    files = find_files(path)
    if len({read_header(file).get(_SET_ID) for file in files}) > 1:
        raise CheckpointError(
            f"expected the shards of one set of weights at {path}, got shards of several: "
            "write or copy all of them again"
        )
    return files


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a set of weights, without reading the weights.

    Raises:
        CheckpointError: As `read_weights`.
    """
    return _public(read_header(find_files(path)[0]))


def read_id(path: str | os.PathLike[str]) -> str:
    """Hexadecimal digits that depend on the content of a set alone, without reading the weights.

    The order in which its tensors were given is a part of that.

    Raises:
        CheckpointError: As `read_weights`.
    """
    return read_header(find_files(path)[0]).get(_SET_ID, "")


def read_header(file: Path) -> dict[str, str]:
    """A single file's own metadata, the name of its set among it.

    Raises:
        CheckpointError: It is missing, damaged, or no safetensors.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from error


def shown(name: str, longest: int = 120) -> str:
    """A name from a file, short and printable, for a message: files may hold any."""
    short = name[:longest]
    return short if short.isprintable() else ascii(short)


def _split(
    tensors: Mapping[str, Tensor], header: Mapping[str, str], max_shard_bytes: int | None
) -> list[list[str]]:
    """Names in order, shard by shard; a tensor too large for any shard has one of its own."""
    header_bytes = sum(len(key) + len(value) for key, value in header.items()) + 1024
    shards: list[list[str]] = [[]]
    used = header_bytes
    for name, tensor in tensors.items():
        size = tensor.nbytes + len(name) + _HEADER_BYTES_PER_TENSOR
        if max_shard_bytes is not None and shards[-1] and used + size > max_shard_bytes:
            shards.append([])
            used = header_bytes
        shards[-1].append(name)
        used += size
    return shards


def _write(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, the same whenever its content is the same, tensor by tensor.

    The library writes metadata in a random order, and older versions of it hold all bytes twice.
    A file is the 8-byte length of a JSON header, the header filled with blanks up to a multiple of
    8, and the values, whose offsets count from the header's end; the widest dtypes come first, so
    that all values lie aligned.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name, tensor in ordered:
        offsets = [end, end := end + tensor.nbytes]
        shape = list(tensor.shape)
        entries[name] = {"dtype": _DTYPES[tensor.dtype], "shape": shape, "data_offsets": offsets}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    with file.open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        for _, tensor in ordered:
            opened.write(_bytes_of(tensor))


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """A name for the set that depends on nothing but its content."""
    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _public(header: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in header.items() if key != _SET_ID}


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"expected safetensors in {file}, got {error!s:.300}: copy or write it again"
    )
