"""Training of the miniature: a VAE, then an LDM on its latents, then a head on its features.

The same loop trains heads on real pictures: `training.data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from accelerate import PartialState
from accelerate.utils import set_seed

from ..errors import InputError
from ..head.config import Kind
from ..taps import BLOCKS
from ..world import WORLDS
from .cache import SceneCache, latents_name
from .loop import lacks_accelerator, train
from .plan import Plan, Stage

__all__ = ["Plan", "SceneCache", "Stage", "make_stage", "train"]

StageName = Literal["vae", "ldm", "head"]
_VAE_CHANNELS = (32, 32, 64, 64)
_HELD_OUT = 500


def make_stage(
    name: StageName,
    run: Path,
    *,
    world: str,
    scenes: int,
    side: int,
    crop: int,
    seed: int,
    kind: Kind = "ldznet",
    taps: Sequence[int] = BLOCKS,
    paintings: int = 0,
    start: Path | None = None,
) -> Stage:
    """A stage with the caches and the earlier stages' weights that it builds on.

    Raises:
        InputError: A size cannot be used.
        CheckpointError: An earlier stage's weights are missing.
    """
    if world not in WORLDS:
        raise InputError(f"expected a world of {', '.join(WORLDS)}, got {world!r}: choose one")
    if not 0 <= paintings <= scenes:
        raise InputError(
            f"expected paintings of at most {scenes} scenes, got {paintings}: lower --paintings"
        )
    if scenes < 1 or side < 64 or side % 64 or not 64 <= crop <= side or crop % 64:
        raise InputError(
            f"expected scenes, and a side and a crop in multiples of 64 with the crop no larger, "
            f"got {scenes}, {side} and {crop}: correct them"
        )
    set_seed(seed)
    state = PartialState(cpu=lacks_accelerator())
    with state.main_process_first():  # one process fills the caches, the others find them full
        return _make(
            name, run, world, scenes, side, crop, state.device, kind, taps, paintings, start
        )


def _make(
    name: StageName,
    run: Path,
    world: str,
    scenes: int,
    side: int,
    crop: int,
    device: torch.device,
    kind: Kind,
    taps: Sequence[int],
    paintings: int,
    start: Path | None,
) -> Stage:
    train_cache = SceneCache(run / "cache", world, "train", scenes, side)
    held_out = SceneCache(run / "cache", world, "validation", _HELD_OUT, side)
    weights = run / "weights"
    if name == "vae":
        from .vae import VAEStage

        return VAEStage(train_cache, held_out, _VAE_CHANNELS, crop)
    if name == "ldm":
        from ..miniature.vae import load_vae
        from .ldm import LDMStage

        vae = load_vae(weights / "vae").to(device)
        return LDMStage(train_cache, vae, latents_name(weights))
    from ..miniature import load_miniature
    from .head import HeadStage

    miniature = load_miniature(device, folder=weights)
    return HeadStage(train_cache, held_out, miniature, weights, kind, taps, paintings, start)
