"""What a head is trained to make small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..capture import Features
from ..head import AnyHead, CompactHead
from ..head.compact import bounded

_WEIGHTS = {"pixels": 1.0, "overlap": 0.5, "presence": 0.2}


def mask_losses(
    head: AnyHead, latents: Tensor, context: Tensor, features: Features, masks: Tensor
) -> dict[str, Tensor]:
    """Losses of a head's masks by name; "loss" is their weighted sum, the others are detached.

    Args:
        head: In training.
        latents: ``(S, C, h, w)``, clean.
        context: ``(P, T, D)`` text features of the phrases.
        features: The LDM's of these latents.
        masks: ``(P, H, W)`` of 0 and 1; empty where a phrase names nothing.
    """
    losses: dict[str, Tensor] = {}
    if isinstance(head, CompactHead):
        mask, presence = head.parts(latents, context, features)
        logits = bounded(mask, presence)[:, 0].float()
        is_there = masks.flatten(1).amax(dim=1)
        losses["presence"] = F.binary_cross_entropy_with_logits(presence.float(), is_there)
    else:
        logits = head(latents, context, features)[:, 0].float()
    losses["pixels"] = F.binary_cross_entropy_with_logits(logits, masks)
    losses["overlap"] = overlap_loss(logits, masks)
    total = torch.stack([_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
    return {"loss": total, **{name: loss.detach() for name, loss in losses.items()}}


def overlap_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """One minus Dice's coefficient, over the masks ``(P, H, W)`` that are not empty."""
    present = masks.flatten(1).any(dim=1)
    probabilities, masks = logits.sigmoid().flatten(1), masks.flatten(1)
    shared = 2 * (probabilities * masks).sum(dim=1) + 1
    loss = 1 - shared / (probabilities.sum(dim=1) + masks.sum(dim=1) + 1)
    return (loss * present).sum() / present.sum().clamp(min=1)
