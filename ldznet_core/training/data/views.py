"""Views of pictures that were encoded once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...world.draw import Draw
from ..kept import Kept
from ..plan import Batch, Plan
from .frozen import FEATURES

_MASKS = "masks"


class Views:
    """Encoded views in a folder."""

    def __init__(self, kept: Kept) -> None:
        """Take what is kept of each view, as `kept_of` says."""
        self._kept = kept

    def batch(self, plan: Plan, step: int, process: int) -> Batch:
        """Random views, as `FrozenModel.see` would give them; ``masks`` (P, H, W) are bool."""
        draw = Draw("views", plan.seed, step, process)
        read = self._kept.rows([draw.below(self._kept.count) for _ in range(plan.batch)])
        masks = np.unpackbits(read.pop(_MASKS), axis=-1).astype(np.bool_)
        batch: Batch = {name: torch.from_numpy(value) for name, value in read.items()}
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
