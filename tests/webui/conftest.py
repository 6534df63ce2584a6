"""The miniature and two of its pictures, made once."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from PIL import Image
from torch import Tensor


class Drawn(NamedTuple):
    """A picture of the miniature's world."""

    prompt: str
    latents: Tensor
    picture: Image.Image


@pytest.fixture(scope="session")
def miniature() -> Any:
    pytest.importorskip("diffusers", reason="the miniature's VAE is of diffusers")
    from ldznet_core import load_miniature

    return load_miniature()


@pytest.fixture(scope="session")
def drawings(miniature: Any) -> list[Drawn]:
    """An owl on a beach, and a red car in a meadow."""
    return [
        _drawn(miniature, "an owl on a beach", 3),
        _drawn(miniature, "a red car in a meadow", 2),
    ]


def _drawn(miniature: Any, prompt: str, seed: int) -> Drawn:
    made = miniature.generate(prompt, seed=seed, steps=12)
    return Drawn(prompt, made.latents, made.image)
