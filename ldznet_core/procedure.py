"""How pictures are looked at: everything that changes a mask beside the picture and the phrase."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from .checks import SEEDS, checked_seed
from .errors import InputError

Preprocess: TypeAlias = Literal["fit", "official"]
"""How pictures are brought to the size on which the head was trained.

"fit" keeps their proportions; "official" floors both sides to multiples of 64, as the authors do.
"""

OFFICIAL_TEMPLATES = (
    "a photo of a {}.",
    "a photograph of a {}.",
    "an image of a {}.",
    "{}.",
    "a cropped photo of a {}.",
    "a good photo of a {}.",
    "a photo of one {}.",
    "a bad photo of a {}.",
    "a photo of the {}.",
)
"""What the authors put a phrase into, one at random."""

OFFICIAL_TIMESTEPS = (300, 500)
"""The authors draw a whole timestep from the first to below the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """The choices of a `Segmenter`; the defaults are ours, without any chance in them."""

    preprocess: Preprocess = "fit"
    timesteps: tuple[int, ...] = ()
    """Where a probe takes features; of several the logits' mean counts. None: the head's own."""
    template: str | None = None
    """What phrases are put into, with one ``{}``. None: the head's own."""
    seed: int = 0
    """Of all noise. Every probe of a picture has the same, whatever the timestep."""
    has_official_randomness: bool = False
    """Whether to draw, as the authors do: the latents from the VAE's posterior, one of
    `OFFICIAL_TEMPLATES`, a timestep of `OFFICIAL_TIMESTEPS`, the noise. All follow from the seed,
    the picture and the phrase, and not from what was asked before or along with it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be done.

        Raises:
            InputError: A value is out of its range, or contradicts the official randomness.
        """
        for t in self.timesteps:
            if t not in range(1000):
                raise InputError(f"expected whole timesteps from 0 to 999, got {t}: try 400")
        if self.template is not None and self.template.count("{}") != 1:
            raise InputError(
                f"expected one {{}} in the template, where the phrase goes, got {self.template!r}: "
                'write it like "a photo of a {}."'
            )
        object.__setattr__(self, "seed", checked_seed(self.seed))
        if self.has_official_randomness and (self.timesteps or self.template is not None):
            raise InputError(
                "expected the official randomness, or timesteps and a template of your own, got "
                "both: leave out one"
            )

    def generator(self, *parts: bytes) -> torch.Generator:
        """A source of random numbers that follows from the seed and from these parts alone."""
        seed = self.seed
        if parts:
            digest = hashlib.sha256(b"\0".join([str(seed).encode(), *parts])).digest()
            seed = int.from_bytes(digest[:8], "big") % SEEDS.stop
        return torch.Generator().manual_seed(seed)
