"""Training scenes as the miniature paints them, with the features of the very run; made once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..miniature.anew import BEGIN, paint_anew
from ..miniature.model import Miniature
from ..taps import TapsOf
from ..world import Draw, caption
from .cache import SceneCache
from .kept import Arrays, fill

_BEGINS = tuple(BEGIN + 50 * number for number in range(4))
"""Steps of a sampling from which scenes are painted: the later ones leave things nearer to where
they were, the earlier ones make pictures that are more the miniature's own."""

_LATENTS = "latents"


class Paintings:
    """The first scenes of a cache that come with masks, painted anew by their captions."""

    def __init__(
        self,
        folder: Path,
        scenes: SceneCache,
        shown: Sequence[int],
        latents: NDArray[np.float16],
        miniature: Miniature,
        taps_of: TapsOf,
        identity: str,
    ) -> None:
        """Paint what was not painted yet.

        Args:
            folder: Theirs alone.
            scenes: What is painted.
            shown: The numbers of those scenes.
            latents: ``(N, 4, h, w)``, of all scenes.
            miniature: Paints.
            taps_of: Where the head that learns from them listens.
            identity: Of the miniature's weights.
        """
        self.shown = tuple(shown)

        def make(number: int) -> Arrays:
            scene = self.shown[number]
            draw = Draw("painting", scene)
            painted, captured = paint_anew(
                miniature,
                caption(scenes.layout(scene), draw),
                torch.from_numpy(latents[scene][None].astype(np.float32)).to(miniature.device),
                draw.below(2**31),
                taps_of=taps_of,
                begins_at=draw.choice(_BEGINS),
            )
            heard = draw.choice(captured).blocks
            row = {_LATENTS: painted, **{str(block): taken for block, taken in heard.items()}}
            return {name: value[0].half().cpu().numpy() for name, value in row.items()}

        settings = {
            "world": scenes.world,
            "side": scenes.side,
            "taps": list(taps_of(miniature.unet)),
            "weights": identity,
        }
        self._kept = fill(folder, "paintings", settings, len(self.shown), make)

    def rows(self, numbers: Sequence[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Clean latents ``(B, 4, h, w)`` and features by block, of the paintings so numbered."""
        read = {
            name: torch.from_numpy(array).float()
            for name, array in self._kept.rows(numbers).items()
        }
        latents = read.pop(_LATENTS)
        return latents, {int(block): feature for block, feature in read.items()}
