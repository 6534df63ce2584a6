"""Everything that the cells of a study share: scenes, features, text, and what they are asked."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

from torch import Tensor

from ..miniature import Miniature
from ..miniature.parts import WEIGHTS
from ..miniature.vae import encode
from ..training import SceneCache
from ..training.cache import latents_name, unet_name
from ..world import scenes_with_masks
from .held_out import HeldOut, load_held_out
from .settings import Settings
from .views import Views


class Material:
    """Made once and kept in a folder, for later runs too."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        pool: int,
        miniature: Miniature,
        weights: Path = WEIGHTS,
    ) -> None:
        """Open the scenes, and render them where that was not done.

        Args:
            folder: Of caches; scenes are found as `ldznet train` leaves them.
            settings: Of the study.
            pool: Scenes of the training split; of some worlds only a part comes with masks.
            miniature: Whose latents, text and features heads read.
            weights: The folder that it came from, whose contents name what is kept.
        """
        self.settings, self.miniature = settings, miniature
        self.scenes = SceneCache(folder, settings.world, "train", pool, settings.side)
        self.with_masks = scenes_with_masks(settings.world, "train", pool)
        self.labels = self.scenes.labels()
        self.pictures = self.scenes.images()
        self.latents = self.scenes.latents(
            latents_name(weights),
            lambda images: encode(miniature.vae, images.to(miniature.device)),
        )
        self._folder, self._name = folder, unet_name(weights)
        of_scenes = f"views-{settings.world}-{pool}-{settings.side}-{self._name}"
        self.views = Views(folder / of_scenes, self.scenes, self.latents, miniature)
        self.encode_phrase = lru_cache(maxsize=4096)(self._encode)  # few, and asked often
        self.held_out = cache(self._held_out)

    def _encode(self, phrase: str) -> Tensor:
        """Text features ``(1, T, D)`` of a phrase."""
        return self.miniature.encode_text([phrase]).clone()

    def _held_out(self, split: str) -> HeldOut:
        """A split's first scenes."""
        asked = self.settings
        return load_held_out(
            self._folder / f"held-out-{self._name}",
            self.miniature,
            asked.world,
            split,
            asked.held_out,
            asked.side,
        )
