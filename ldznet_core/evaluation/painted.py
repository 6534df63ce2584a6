"""The split of scenes that the miniature paints anew, whose masks are known nearly."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ..capture import AIMS, Aim, Features
from ..miniature import Miniature, anew
from ..taps import Taps, find_taps
from ..training_free import LAYERS, find_places
from ..world import caption
from .cases import Case

PAINTED, OF_PAINTED = "gen", "iid"
"""The split of pictures that the miniature paints itself, and the split of their scenes."""

EVERY_WINDOW = (min(aim.window[0] for aim in AIMS), max(aim.window[1] for aim in AIMS))
"""The timesteps that any head wants to see, trained ones and none."""

_TIMESTEPS = (400.0, 300.0, 200.0, 100.0)


def other_aims(own: Aim) -> dict[str, Aim]:
    """Which passes a head might read instead of those that it wants to see, by name."""
    return {
        f"captured at t = {timestep:.0f}": Aim(timestep, EVERY_WINDOW)
        for timestep in _TIMESTEPS
        if timestep != own.timestep
    }


def scenes_of(split: str) -> str:
    """The split whose scenes are shown: its own, or those that are painted anew."""
    return OF_PAINTED if split == PAINTED else split


class Painted(NamedTuple):
    """A picture of the miniature's own."""

    latents: Tensor
    """``(1, 4, h, w)``, clean."""
    captured: tuple[Features, ...]
    """What heads read, trained ones and none, at each step that any of them wants to see."""


def paint_anew(
    miniature: Miniature,
    case: Case,
    latents: Tensor,
    seed: int,
    *,
    begins_at: float = anew.BEGIN,
    steps: int = anew.STEPS,
) -> Painted:
    """Paint a scene by its caption; the arguments are those of `paint_listening`."""
    return Painted(
        *paint_listening(miniature, case, latents, seed, begins_at=begins_at, steps=steps)
    )


def paint_listening(
    miniature: Miniature,
    case: Case,
    latents: Tensor,
    seed: int,
    *,
    begins_at: float = anew.BEGIN,
    steps: int = anew.STEPS,
) -> tuple[Tensor, tuple[Features, ...]]:
    """Paint a scene by its caption, and keep what heads read, trained ones and none.

    What it takes and gives is that of `anew.paint_anew`.

    Args:
        miniature: What paints.
        case: The scene.
        latents: ``(1, 4, h, w)``, its own.
        seed: Of all the noise.
        begins_at: The timestep up to which noise covers the scene.
        steps: Of a whole sampling.
    """
    return anew.paint_anew(
        miniature,
        caption(case.scene.layout, plain=True),
        latents,
        seed,
        taps_of=every_tap,
        window=EVERY_WINDOW,
        begins_at=begins_at,
        steps=steps,
    )


def every_tap(unet: nn.Module) -> Taps:
    """Where heads listen, whichever they are: trained ones and none."""
    every_block = range(1, 17)  # heads read some of them, each its own
    return {**find_places(unet, LAYERS["miniature"]), **find_taps(unet, every_block)}
