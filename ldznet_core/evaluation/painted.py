"""Scenes that the miniature paints anew: pictures of its own, whose masks are known nearly.

A scene is covered by noise, of which sampling takes care as in any picture. It begins before the
step at which attention is read, so that the miniature itself made what is read there; but so late
that things stay where they were.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..capture import Features, distance_from_best
from ..miniature import Miniature
from ..miniature.sampling import GUIDANCE, Guidance, sample
from ..taps import Taps, find_taps
from ..training_free import LAYERS, find_places
from ..world import caption
from .cases import Case

PAINTED, OF_PAINTED = "gen", "iid"
"""The split of pictures that the miniature paints itself, and the split of their scenes."""

_BEGIN = 449.0
"""Of 20 steps the last before t = 400."""

_STEPS = 20


class Painted(NamedTuple):
    """A picture of the miniature's own."""

    latents: Tensor
    """``(1, 4, h, w)``, clean."""
    captured: Features
    """What heads read, trained ones and none, at the step nearest to t = 400."""


def paint_anew(
    miniature: Miniature,
    case: Case,
    latents: Tensor,
    seed: int,
    *,
    begins_at: float = _BEGIN,
    steps: int = _STEPS,
) -> Painted:
    """Paint a scene by its caption; the arguments are those of `paint_listening`."""
    painted, captured = paint_listening(
        miniature, case, latents, seed, begins_at=begins_at, steps=steps
    )
    return Painted(painted, min(captured, key=distance_from_best))


@torch.inference_mode()
def paint_listening(
    miniature: Miniature,
    case: Case,
    latents: Tensor,
    seed: int,
    *,
    begins_at: float = _BEGIN,
    steps: int = _STEPS,
) -> tuple[Tensor, tuple[Features, ...]]:
    """Paint a scene by its caption, and keep what each step from t = 500 to 300 gave.

    Args:
        miniature: What paints.
        case: The scene.
        latents: ``(1, 4, h, w)``, its own.
        seed: Of all the noise.
        begins_at: The timestep up to which noise covers the scene; sampling makes a step there.
        steps: Of a whole sampling, of which those from there on are made.

    Returns:
        The picture's clean latents ``(1, 4, h, w)``, and what heads read, trained ones and none.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    prompt = miniature.encode_text([caption(case.scene.layout, plain=True)])
    painted, captured = sample(
        miniature.unet,
        miniature.schedule.add_noise(latents, noise, begins_at),
        Guidance(prompt, miniature.encode_text([""]), GUIDANCE),
        steps,
        generator,
        captures=True,
        taps_of=_all_taps,
        begins_at=begins_at,
    )
    return painted, tuple(captured)


def _all_taps(unet: nn.Module) -> Taps:
    every_block = range(1, 17)  # heads read some of them, each its own
    return {**find_places(unet, LAYERS["miniature"]), **find_taps(unet, every_block)}
