"""Views that were encoded once: arrays on disk, filled on first use and read ever after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ...errors import InputError
from ...world.draw import Draw
from ..plan import Batch, Plan
from .frozen import FEATURES

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""What is kept of a view, by name."""

_STATE = "views.json"
_CHUNK = 32  # views between two notes of how far the filling has come
_MASKS = "masks"


class Views:
    """Encoded views in a folder."""

    def __init__(self, folder: Path, count: int) -> None:
        """Open what `fill_views` has filled.

        Args:
            folder: With an array of each name.
            count: How many views there are.
        """
        self.count = count
        self._arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}

    def batch(self, plan: Plan, step: int, process: int) -> Batch:
        """Random views, as `FrozenModel.see` would give them; ``masks`` (P, H, W) are bool."""
        draw = Draw("views", plan.seed, step, process)
        indices = [draw.below(self.count) for _ in range(plan.batch)]
        read = {
            name: np.stack([array[index] for index in indices])
            for name, array in self._arrays.items()
        }
        masks = np.unpackbits(read.pop(_MASKS), axis=-1).astype(np.bool_)
        batch = {name: torch.from_numpy(value) for name, value in read.items()}
        batch["context"] = batch["context"].flatten(0, 1)  # on disk (S, P / S, T, D)
        batch[_MASKS] = torch.from_numpy(masks).flatten(0, 1)
        return batch


def kept_of(seen: Mapping[str, Tensor], batch: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """What is kept of a batch of one view: half precision, and masks of a bit a pixel.

    Args:
        seen: From `FrozenModel.see`.
        batch: From `examples.together`.
    """
    most = float(np.finfo(np.float16).max)
    kept: dict[str, NDArray[Any]] = {
        name: value[0].float().clamp(-most, most).half().cpu().numpy()
        for name, value in seen.items()
        if name == "latents" or name.startswith(FEATURES)
    }
    kept["context"] = seen["context"].half().cpu().numpy()
    kept["timesteps"] = batch["timesteps"][0].numpy()
    kept[_MASKS] = np.packbits(batch[_MASKS].numpy(), axis=-1)
    return kept


def fill_views(
    folder: Path,
    settings: Mapping[str, object],
    count: int,
    encode: Callable[[int], Arrays],
) -> Views:
    """The views of a folder, encoded as far as they are not yet there.

    Filling goes on where it was interrupted; its bar says how large the files are in all.

    Args:
        folder: Theirs alone.
        settings: All that they depend on, for JSON.
        count: How many.
        encode: What is kept of a view, by its number; always the same.

    Raises:
        InputError: The folder has views of other settings, or the disk lacks room.
    """
    settings = {**settings, "count": count}
    filled = _filled(folder, settings)
    if filled < count:
        first = encode(filled)
        each = sum(array.nbytes for array in first.values())
        _check_room(folder, each * (count - filled))
        arrays = {name: _open(folder, name, array, count) for name, array in first.items()}
        title = f"views, {each * count / 1e9:.3g} GB in {folder}"
        bar = tqdm(range(filled, count), desc=title, unit="view", initial=filled, total=count)
        for index in bar:
            for name, array in (first if index == filled else encode(index)).items():
                arrays[name][index] = array
            if (index + 1) % _CHUNK == 0 or index + 1 == count:
                for array in arrays.values():
                    array.flush()
                _note(folder, settings, index + 1)
    return Views(folder, count)


def _filled(folder: Path, settings: Mapping[str, object]) -> int:
    """How many views are there already.

    Raises:
        InputError: They are of other settings.
    """
    state = folder / _STATE
    if not state.is_file():
        return 0
    noted = json.loads(state.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(settings))
    for name in sorted({*wanted, *noted["settings"]}):
        before, now = noted["settings"].get(name), wanted.get(name)
        if before != now:
            raise InputError(
                f"expected views of {name} {now} in {folder}, found those of {before}: use the "
                "settings that they were made with, or another --folder, or delete them"
            )
    return int(noted["filled"])


def _check_room(folder: Path, wanted: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise InputError(
            f"expected room for {wanted / 1e9:.3g} GB of views in {folder}, the disk has "
            f"{free / 1e9:.3g} GB: lower --views or --side, or choose another --folder"
        )


def _open(folder: Path, name: str, array: NDArray[Any], count: int) -> np.memmap[Any, Any]:
    path = folder / f"{name}.npy"
    if path.is_file():
        existing: np.memmap[Any, Any] = np.load(path, mmap_mode="r+")
        if existing.shape == (count, *array.shape):
            return existing
    return np.lib.format.open_memmap(
        path, mode="w+", dtype=array.dtype, shape=(count, *array.shape)
    )


def _note(folder: Path, settings: Mapping[str, object], filled: int) -> None:
    """Say how far the filling has come, whole or not at all."""
    draft = folder / f"{_STATE}.new"
    noted = {"settings": settings, "filled": filled}
    draft.write_text(json.dumps(noted, indent=2), encoding="utf-8")
    draft.replace(folder / _STATE)
