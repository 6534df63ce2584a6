"""Tensors' chance, named by words like the world's."""

from __future__ import annotations

import torch

from ..capture import WINDOW
from ..world.draw import Draw, stable_hash


def generator_for(*words: str | int) -> torch.Generator:
    """A CPU generator whose stream depends on the words alone."""
    return torch.Generator().manual_seed(stable_hash(*words) % 2**63)


def timestep_from(draw: Draw) -> int:
    """A whole timestep of those that tell most, each as likely."""
    first, last = map(int, WINDOW)
    return first + draw.below(last - first + 1)
