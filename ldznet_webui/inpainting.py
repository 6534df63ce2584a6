"""What the UNets of inpainting checkpoints read besides noisy latents."""

from __future__ import annotations

import torch
from torch import Tensor


def seen_besides(clean: Tensor, count: int) -> Tensor:
    """``(P, 1 + C, h, w)``: that nothing is masked, and the picture in latents ``(1, C, h, w)``."""
    nothing = clean.new_zeros(1, 1, *clean.shape[-2:])
    return torch.cat([nothing, clean], dim=1).expand(count, -1, -1, -1)
