"""A checkpoint's tensors by name, in either form, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import CheckpointError
from .pickled import PickledTensors
from .stored import list_tensors
from .weights import shown


def open_checkpoint(path: Path) -> PickledTensors | SafeTensors:
    """A safetensors file, or else a pickled checkpoint; only what tells of the tensors is read.

    Raises:
        CheckpointError: It is missing or damaged, or holds more than tensors and plain values.
    """
    return SafeTensors(path) if path.suffix == ".safetensors" else PickledTensors(path)


class SafeTensors(Mapping[str, Tensor]):
    """The tensors of a safetensors file by name, in their stored dtypes."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            CheckpointError: The file is missing or damaged.
        """
        self._path = path
        self.shapes = {name: tensor.shape for name, tensor in list_tensors(path).items()}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        try:
            # Opened anew each time: pages of a mapping that stays would count as memory.
            with safe_open(self._path, framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name)
                return tensor.clone()
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"expected {shown(name)} in {self._path}, got {error!s:.300}: copy the file again"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)
