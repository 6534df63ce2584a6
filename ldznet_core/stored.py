"""Tensors as they lie in safetensors files: known by the header alone, read a few at a time.

Pages of a mapped file count as memory of the process once they are read. A whole file of weights
would so be held twice while it is loaded; here the mapping is let go after every portion.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import CheckpointError
from .frames import padded_side
from .weights import find_one_set, shown

PORTION_VALUES = 2**25
"""How many values are read before the mapping is let go: 64 MiB of half precision."""

_FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies, and what the file's header says of it."""

    file: Path
    name: str
    shape: tuple[int, ...]
    """In which it is read: the stored one, or another of as many values."""
    dtype: str
    """As safetensors writes it: "F16", "BF16", "F32", ..."""

    def is_floating_point(self) -> bool:
        """Whether its values are floats, as a `Tensor` says it of itself."""
        return self.dtype in _FLOATS


def list_weights(path: str | os.PathLike[str]) -> dict[str, StoredTensor]:
    """Every tensor of a set of weights by its name; only the headers are read.

    Args:
        path: As in `weights.read_weights`.

    Raises:
        CheckpointError: A file is missing, damaged, no safetensors, or of another set.
    """
    return {
        name: tensor for file in find_one_set(path) for name, tensor in list_tensors(file).items()
    }


def list_tensors(file: Path) -> dict[str, StoredTensor]:
    """Every tensor of a file by its name; only the header is read.

    Raises:
        CheckpointError: The file is missing, damaged, or no safetensors.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
            return {
                name: StoredTensor(file, name, tuple(each.get_shape()), each.get_dtype())
                for name, each in slices.items()
            }
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from error


def read_tensors(
    tensors: Mapping[str, StoredTensor],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """The tensors in a dtype, copies all, under the names by which they are asked for.

    Memory grows by what is returned and one portion. What is returned is one block, which goes
    back to the system as a whole once the last of its tensors is let go; many small ones would
    stay with the process for a while.

    Raises:
        CheckpointError: A file is missing or damaged, or holds other numbers than floats.
    """
    read = _empty(tensors, device, dtype)
    for portion in _portions(tensors):
        file = tensors[portion[0]].file
        try:
            with safe_open(file, framework="pt") as opened:
                for name in portion:
                    stored = opened.get_tensor(tensors[name].name)
                    read[name].copy_(stored.reshape(tensors[name].shape))
                    del stored  # the mapping lives as long as what came out of it
        except (OSError, SafetensorError) as error:
            raise _unreadable(file, error) from error
    return read


def check_fit(
    wanted: Mapping[str, Tensor],
    given: Mapping[str, StoredTensor] | Mapping[str, Tensor],
    what: str,
    remedy: str,
) -> None:
    """Refuse weights that are not exactly those of a network.

    Args:
        wanted: The network's own tensors by name, on the meta device too.
        given: What there is for it.
        what: The network and where its weights come from, for the message.
        remedy: What to do about it, for the message.

    Raises:
        CheckpointError: A tensor is missing, surplus, of another shape, or holds no floats.
    """
    shared = set(wanted) & set(given)
    complaints = {
        "missing": set(wanted) - set(given),
        "surplus": set(given) - set(wanted),
        "misshapen": {name for name in shared if tuple(given[name].shape) != wanted[name].shape},
        "no floats": {name for name in shared if not given[name].is_floating_point()},
    }
    listed = [_listed(complaint, sorted(names)) for complaint, names in complaints.items() if names]
    if listed:
        raise CheckpointError(
            f"expected the {len(wanted)} weights of {what}, got {'; '.join(listed)}: {remedy}"
        )


def _empty(
    tensors: Mapping[str, StoredTensor], device: str | torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Room for the tensors in one block, each at a multiple of 64 values."""
    sizes = [prod(tensor.shape) for tensor in tensors.values()]
    starts = list(accumulate((padded_side(size, 64) for size in sizes), initial=0))
    block = torch.empty(starts[-1], device=device, dtype=dtype)
    return {
        name: block[start : start + size].view(tensor.shape)
        for (name, tensor), start, size in zip(tensors.items(), starts, sizes, strict=False)
    }


def _portions(tensors: Mapping[str, StoredTensor]) -> Iterator[list[str]]:
    """Names in lists, each of one file and of no more values than a portion has."""
    portion: list[str] = []
    values = 0
    for name, tensor in tensors.items():
        size = prod(tensor.shape)
        is_other_file = portion and tensors[portion[0]].file != tensor.file
        if portion and (is_other_file or values + size > PORTION_VALUES):
            yield portion
            portion, values = [], 0
        portion.append(name)
        values += size
    if portion:
        yield portion


def _listed(complaint: str, names: list[str]) -> str:
    listed = ", ".join(map(shown, names[:5])) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {complaint} ({listed})"


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"expected safetensors in {file}, got {error!s:.300}: copy it again")
