"""Memory for time: layers whose insides are computed again on the way back, and not kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Given = TypeVar("Given")


def recomputed(layer: Callable[..., Given], *inputs: object) -> Given:
    """What a layer gives for its inputs, and the gradients that it would have given anyway.

    Only the inputs are kept (gradient checkpointing); the way back runs the layer once more.
    Without gradients it is a plain call. Layers with chance in them would fall differently the
    second time; ours have none.
    """
    if not torch.is_grad_enabled():
        return layer(*inputs)
    from torch.utils.checkpoint import checkpoint  # training alone needs it

    given: Given = checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
    return given
