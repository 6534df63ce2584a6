"""Weights on disk: safetensors in shards that a git forge takes, replaced as a whole or not at all.

A set of weights is called by its stem: ``weights/unet`` is the file ``unet.safetensors``, or the
shards ``unet-1of2.safetensors`` and ``unet-2of2.safetensors``. Each file bears the metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import CheckpointError

SHARD_BYTES = 15 * 2**20
"""The largest weights file that the repository takes."""

_SUFFIX = ".safetensors"
_SHARD = re.compile(r"-(\d+)of(\d+)$")
_SET_ID = "weights_id"
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
    stem = _stem(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    header = {**metadata, _SET_ID: _digest(tensors, metadata)}
    shards = _split(tensors, header, max_shard_bytes)
    files = [_shard_file(stem, number, len(shards)) for number in range(1, len(shards) + 1)]
    drafts = [file.with_name(f".{file.name}.{os.getpid()}.tmp") for file in files]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for draft, names in zip(drafts, shards, strict=True):
            draft.write_bytes(_serialise({name: tensors[name] for name in names}, header))
        for draft, file in zip(drafts, files, strict=True):
            os.replace(draft, file)
        for stale in set(_files_of(stem)) - set(files):
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
    headers: list[dict[str, str]] = []
    for file in find_files(path):
        try:
            with safe_open(file, framework="pt") as opened:
                headers.append(opened.metadata() or {})
                # Copies, so that the file may be replaced while its weights are in use.
                tensors |= {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError) as error:
            raise _unreadable(file, error) from error
    if len({header.get(_SET_ID) for header in headers}) > 1:
        raise CheckpointError(
            f"expected the shards of one set of weights at {path}, got shards of several: "
            "write or copy all of them again"
        )
    return tensors, _public(headers[0])


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a set of weights, without reading the weights.

    Raises:
        CheckpointError: As `read_weights`.
    """
    file = find_files(path)[0]
    try:
        with safe_open(file, framework="pt") as opened:
            return _public(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from error


def read_id(path: str | os.PathLike[str]) -> str:
    """Hexadecimal digits that depend on the weights' content alone, without reading the weights.

    Raises:
        CheckpointError: As `read_weights`.
    """
    file = find_files(path)[0]
    try:
        with safe_open(file, framework="pt") as opened:
            return str((opened.metadata() or {}).get(_SET_ID, ""))
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from error


def find_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a set of weights in the order of their numbers.

    Args:
        path: The stem, with or without ``.safetensors``, or any one of the shards.

    Raises:
        CheckpointError: There is none, a shard is missing, or files of several sets lie there.
    """
    if Path(path).suffix in {".ckpt", ".pt", ".pth", ".bin"}:
        raise CheckpointError(
            f"expected a {_SUFFIX} file, got the pickle {path}: run `ldznet convert` on it first"
        )
    stem = _stem(path)
    found = _files_of(stem)
    if not found:
        raise CheckpointError(
            f"expected weights at {stem}{_SUFFIX} or in its shards, found none: check the path"
        )
    count = _shard_count(found[-1])
    expected = [_shard_file(stem, number, count) for number in range(1, count + 1)]
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


def _stem(path: str | os.PathLike[str]) -> Path:
    given = Path(path)
    if not given.name:
        raise CheckpointError(f"expected the path of a weights file, got {str(path)!r}: name one")
    return given.with_name(_SHARD.sub("", given.name.removesuffix(_SUFFIX)))


def _shard_file(stem: Path, number: int, count: int) -> Path:
    part = "" if count == 1 else f"-{number}of{count}"
    return stem.with_name(f"{stem.name}{part}{_SUFFIX}")


def _shard_count(file: Path) -> int:
    match = _SHARD.search(file.name.removesuffix(_SUFFIX))
    return int(match[2]) if match else 1


def _files_of(stem: Path) -> list[Path]:
    """Every file that bears the stem's name, of whatever number of shards."""
    if not stem.parent.is_dir():
        return []
    candidates = (file for file in stem.parent.iterdir() if file.name.endswith(_SUFFIX))
    return sorted(file for file in candidates if _stem(file) == stem and file.is_file())


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


def _serialise(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file, the same whenever its content is the same.

    The library writes the metadata in a random order; here it is sorted. A header is an 8-byte
    length and JSON, filled with blanks up to a multiple of 8; offsets count from its end.
    """
    data = save(tensors, dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:end])
    entries["__metadata__"] = dict(sorted(metadata.items()))
    header = json.dumps(entries, separators=(",", ":")).encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """A name for the set that depends on nothing but its content."""
    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _public(header: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in header.items() if key != _SET_ID}


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"expected safetensors in {file}, got {error}: copy or write it again")
