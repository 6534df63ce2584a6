"""Pictures that the miniature paints anew: its own, and yet of things whose places are known.

A picture is covered by noise, of which sampling takes care as in any. It begins before the step at
which heads listen, so that the miniature itself makes what they read there; but so late that
things stay where they were.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..capture import WINDOW, Features
from ..taps import TapsOf, find_taps
from .model import Miniature
from .sampling import GUIDANCE, Guidance, sample

BEGIN = 449.0
"""Of `STEPS` steps the last before t = 400."""

STEPS = 20


@torch.inference_mode()
def paint_anew(
    miniature: Miniature,
    prompt: str,
    latents: Tensor,
    seed: int,
    *,
    taps_of: TapsOf = find_taps,
    window: tuple[float, float] = WINDOW,
    begins_at: float = BEGIN,
    steps: int = STEPS,
) -> tuple[Tensor, tuple[Features, ...]]:
    """Paint a picture by its prompt, and keep what each step of a window gave.

    Args:
        miniature: What paints.
        prompt: What the picture shows.
        latents: ``(1, 4, h, w)``, its own.
        seed: Of all the noise.
        taps_of: Finds where features are taken.
        window: The timesteps at which they are.
        begins_at: The timestep up to which noise covers the picture; sampling makes a step there.
        steps: Of a whole sampling, of which those from there on are made.

    Returns:
        The new picture's clean latents ``(1, 4, h, w)``, and features in the order of the passes.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    painted, captured = sample(
        miniature.unet,
        miniature.schedule.add_noise(latents, noise, begins_at),
        Guidance(miniature.encode_text([prompt]), miniature.encode_text([""]), GUIDANCE),
        steps,
        generator,
        captures=True,
        taps_of=taps_of,
        window=window,
        begins_at=begins_at,
    )
    return painted, tuple(captured)
