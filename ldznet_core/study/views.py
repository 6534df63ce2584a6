"""Features of training scenes, taken once and then read by every cell of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..capture import WINDOW, capturing
from ..head import block_sizes
from ..miniature import Miniature
from ..noise import seeded_noise
from ..taps import find_taps
from ..training import SceneCache
from ..world import Draw, caption

VIEWS = 8
"""Of each scene; a training takes another each time it comes back to the scene."""

_CAPTIONED = 0.5  # share of views that saw the scene's caption, as a sampler's do; the rest no text
_FILLED = "filled"


class Views:
    """The UNet's features of scenes under noise, in half precision, filled as they are asked for.

    A view of a scene has a timestep from 300 to 500, a noise and a text of its own: the scene's
    caption or none, never a phrase, so that it serves whatever is asked.
    """

    def __init__(
        self, folder: Path, scenes: SceneCache, latents: NDArray[np.float16], miniature: Miniature
    ) -> None:
        """Open what is there.

        Args:
            folder: Of these scenes and this miniature alone.
            scenes: The pictures.
            latents: ``(N, 4, h, w)``, theirs.
            miniature: Its UNet looks at them.
        """
        self._folder, self._scenes, self._latents = folder, scenes, latents
        self._miniature = miniature
        self._sizes = block_sizes(miniature.unet.config)
        self._open: dict[tuple[int, str], NDArray[Any]] = {}

    def features(self, rows: Sequence[tuple[int, int]], blocks: Sequence[int]) -> dict[int, Tensor]:
        """Features by block number, ``(B, C, h, w)`` float16 on the CPU.

        Args:
            rows: The scene and the number of the view of each.
            blocks: Which of the UNet's.
        """
        missing = [(scene, view) for scene, view in rows if not self._array(view, _FILLED)[scene]]
        if missing:
            self._fill(missing)
        return {
            block: torch.from_numpy(
                np.stack([self._array(view, str(block))[scene] for scene, view in rows])
            )
            for block in blocks
        }

    @torch.no_grad()
    def _fill(self, rows: Sequence[tuple[int, int]]) -> None:
        draws = [Draw("study view", *row) for row in rows]
        first, last = map(int, WINDOW)
        timesteps = torch.tensor([first + draw.below(last - first + 1) for draw in draws])
        noise = [seeded_noise(self._latents.shape[1:], draw.below(2**31)) for draw in draws]
        texts = [
            caption(self._scenes.layout(scene), draw) if draw.chance(_CAPTIONED) else ""
            for draw, (scene, _) in zip(draws, rows, strict=True)
        ]
        clean = torch.from_numpy(np.stack([self._latents[scene] for scene, _ in rows])).float()
        noisy = self._miniature.schedule.add_noise(clean, torch.stack(noise), timesteps)
        device, unet = self._miniature.device, self._miniature.unet
        with capturing(unet, find_taps(unet, list(self._sizes))) as capture:
            unet(
                noisy.to(device),
                timesteps.to(device, torch.float32),
                self._miniature.encode_text(texts),
            )
        for block, taken in capture.blocks.items():
            for (scene, view), feature in zip(rows, taken.half().cpu().numpy(), strict=True):
                self._array(view, str(block))[scene] = feature
        for scene, view in rows:  # last, so that a stop before it leaves nothing to be believed
            self._array(view, _FILLED)[scene] = True

    def _array(self, view: int, name: str) -> NDArray[Any]:
        if (view, name) not in self._open:
            self._open[view, name] = self._memory(view, name)
        return self._open[view, name]

    def _memory(self, view: int, name: str) -> NDArray[Any]:
        """The file of a block or of what is filled; a new one takes room only where it is."""
        path = self._folder / f"view-{view}" / f"{name}.npy"
        if path.exists():
            array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r+")
            return array
        path.parent.mkdir(parents=True, exist_ok=True)
        count, _, height, width = self._latents.shape
        shape: tuple[int, ...] = (count,)
        if name != _FILLED:
            size = self._sizes[int(name)]
            shape = (count, size.channels, height // size.downscale, width // size.downscale)
        dtype = np.bool_ if name == _FILLED else np.float16
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
