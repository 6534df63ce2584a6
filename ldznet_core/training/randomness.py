"""Tensors' chance, named by words like the world's."""

from __future__ import annotations

import torch

from ..world.draw import stable_hash


def generator_for(*words: str | int) -> torch.Generator:
    """A CPU generator whose stream depends on the words alone."""
    return torch.Generator().manual_seed(stable_hash(*words) % 2**63)
