"""A host with the miniature in which generations are followed, and what was saved in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ldznet_webui.script import Follower

from .conftest import Drawn
from .generating import GeneratingHost, Processed, Processing, Sampler, generate, hooks_on


class Studio:
    """A host with the miniature, and what was saved in it."""

    def __init__(self, miniature: Any, drawings: list[Drawn], heads: Path) -> None:
        self.host = GeneratingHost(miniature, heads)
        self.drawings = drawings
        self.saved: list[tuple[Image.Image, str, int, str]] = []
        self.follower = Follower(lambda: self.host, lambda p, *rest: self.saved.append(rest))
        context = miniature.encode_text([drawings[0].prompt])
        self.sampler = Sampler(miniature.unet, context)

    def run(self, p: Processing, **settings: Any) -> Processed:
        """Generate all pictures of `p`, with the script's settings as a request gives them."""
        pictures = [(each.latents, each.picture) for each in self.drawings]
        done = generate(p, self.follower, self.sampler, pictures, [settings])
        assert hooks_on(self.sampler.unet) == 0
        assert p.closed == 1
        assert "close" not in vars(p)
        return done


def pixels(image: Image.Image) -> np.ndarray[Any, Any]:
    """``(H, W)`` of 0 to 255."""
    return np.asarray(image.convert("L"))
