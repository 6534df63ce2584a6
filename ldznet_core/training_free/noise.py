"""The noise that a phrase makes the model see, beside what it sees without: the paper's figure 1.

Where the estimates differ, the words matter. DiffEdit (arXiv 2210.11427) averages over several
noises, clips what sticks out, and takes what is above half.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_CLIP = 3.0
"""Times the mean, beyond which a difference counts no more."""


def noise_difference(conditional: Tensor, unconditional: Tensor) -> Tensor:
    """The norm of the difference over channels, ``(P, h, w)``.

    Args:
        conditional: ``(P, C, h, w)`` noise estimates with phrases, or with a whole prompt.
        unconditional: ``(1, C, h, w)`` or one for each, at the same latents and noise.
    """
    difference: Tensor = torch.linalg.vector_norm(
        conditional.float() - unconditional.float(), dim=1
    )
    return difference


def mean_difference(
    difference: Callable[[torch.Generator], Tensor], noises: int, seed: int = 0
) -> Tensor:
    """The mean of noise differences over several noises, ``(P, h, w)``.

    Args:
        difference: Makes the passes under a noise drawn from a generator.
        noises: How many, at least 1.
        seed: Of the first; each has a generator of its own.
    """
    maps = [difference(torch.Generator().manual_seed(seed + index)) for index in range(noises)]
    return torch.stack(maps).mean(dim=0)


def clipped(differences: Tensor) -> Tensor:
    """Differences ``(P, h, w)`` cut at three times their mean, as shares of that, in [0, 1]."""
    most = _CLIP * differences.mean(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return torch.minimum(differences, most) / most
