"""What the UNets of inpainting checkpoints read besides noisy latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ldznet_core import UnsupportedModelError


def seen_besides(unet: nn.Module, clean: Tensor, count: int) -> Tensor | None:
    """``(P, 1 + C, h, w)``: that nothing is masked, and the picture; None where nothing is read.

    Args:
        unet: In the layout that hosts have it in, which is LDM's.
        clean: The picture in latents, ``(1, C, h, w)``.
        count: How many phrases there are.

    Raises:
        UnsupportedModelError: It reads something else, as those that edit by instructions do.
    """
    first: Any = unet.get_submodule("input_blocks.0.0")
    channels = clean.shape[1]
    if first.in_channels == channels:
        return None
    if first.in_channels != 2 * channels + 1:
        raise UnsupportedModelError(
            f"expected a checkpoint that reads {channels} channels, or {2 * channels + 1} for "
            f"inpainting, got one of {first.in_channels}: choose another"
        )
    nothing = clean.new_zeros(1, 1, *clean.shape[-2:])
    return torch.cat([nothing, clean], dim=1).expand(count, -1, -1, -1)
