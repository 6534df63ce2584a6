"""Held-out scenes with all that any head reads of them, made once for every cell of a study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from ..capture import BEST_TIMESTEP, EARLY, Features, Source, blocks_of
from ..evaluation.cases import Case, cases
from ..evaluation.painted import PAINTED, paint_anew, scenes_of
from ..miniature import Miniature
from ..pictures import to_picture
from ..taps import Taps, find_taps
from ..training.cache import to_unit_range
from ..whole_files import drafted
from ..world import caption_only_names
from .designs import Design
from .rgbnet import fold

CHOOSING = "validation"
"""The split on which thresholds are chosen."""

_USUAL = ("iid", "comb", "style", PAINTED)
_UNKNOWN = "caption-only"  # worlds have it whose training leaves out some things' masks
_BLOCKS = tuple(range(1, 17))


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """The first scenes of a split."""

    cases: tuple[Case, ...]
    latents: Tensor
    """``(N, 4, h, w)``, clean."""
    pictures: Tensor
    """``(N, 3, H, W)`` RGB in [-1, 1]."""
    blocks: dict[int, Tensor]
    """``(N, C, h, w)`` features: of a probe without text, or captured while they were painted."""
    source: Source

    def given(self, design: Design, index: int) -> tuple[Tensor, Features | None]:
        """What a head of this design reads of a scene: latents or their like, and features."""
        one = slice(index, index + 1)
        latents = fold(self.pictures[one]) if design.sees_pictures else self.latents[one]
        if not design.taps:
            return latents, None
        blocks = {block: self.blocks[block][one].float() for block in design.taps}
        return latents, Features(blocks, BEST_TIMESTEP, self.source)


def splits_of(world: str) -> tuple[str, ...]:
    """The splits of a world that are measured."""
    return (*_USUAL, _UNKNOWN) if caption_only_names(world) else _USUAL


def load_held_out(
    folder: Path, miniature: Miniature, world: str, split: str, count: int, side: int
) -> HeldOut:
    """A split's first scenes, from a file in the folder that the first call writes.

    Args:
        folder: Of this miniature alone.
        miniature: Encodes, looks and paints.
        world: The world's name.
        split: One of the world's, or `PAINTED`.
        count: How many scenes.
        side: Of their pictures in pixels.
    """
    asked = tuple(cases(world, scenes_of(split), count, side))
    path = folder / f"{world}-{split}-{count}-{side}.safetensors"
    if not path.exists():
        progress = tqdm(asked, desc=f"held-out scenes of {split}", unit="scene", leave=False)
        looked = _look_at(miniature, progress, is_painted=split == PAINTED)
        with drafted(path) as draft:
            save_file(looked, draft)
    stored = load_file(path)
    return HeldOut(
        asked,
        stored["latents"],
        to_unit_range(stored["pictures"].numpy()),
        {block: stored[f"block {block}"] for block in _BLOCKS},
        "sampling" if split == PAINTED else "probe",
    )


def _look_at(miniature: Miniature, asked: Iterable[Case], *, is_painted: bool) -> dict[str, Tensor]:
    """Latents, pictures and features of some scenes, by the names under which they are stored."""
    latents, pictures, seen = [], [], []
    for number, case in enumerate(asked):
        picture = Image.fromarray(case.scene.image)
        clean = miniature.encode_image(picture)
        if is_painted:
            clean, captured = paint_anew(miniature, case, clean, number)
            features = EARLY.nearest(captured)
            picture = to_picture(miniature.decode_image(clean))
        else:
            features = miniature.probe(clean, [""], taps_of=_every_tap)
        latents.append(clean.cpu())
        pictures.append(torch.from_numpy(np.array(picture)))
        seen.append(blocks_of(features))
    blocks = {
        f"block {block}": torch.cat([each[block] for each in seen]).half().cpu()
        for block in _BLOCKS
    }
    return {"latents": torch.cat(latents), "pictures": torch.stack(pictures), **blocks}


def _every_tap(unet: nn.Module) -> Taps:
    return find_taps(unet, _BLOCKS)
