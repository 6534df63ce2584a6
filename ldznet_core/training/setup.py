"""The three stages of the miniature's training, made from what a run says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import PartialState
from accelerate.utils import set_seed

from ..backends import MINIATURE
from ..errors import InputError
from ..head.config import Kind
from ..miniature.parts import WEIGHTS
from ..taps import BLOCKS
from ..world import WORLDS
from .cache import SceneCache, latents_name
from .loop import lacks_accelerator
from .plan import Stage

StageName = Literal["vae", "ldm", "head"]
_HELD_OUT = 500
_LEVELS = 4  # of a VAE whose latents have an eighth of the picture's side
_GROUPS = 32  # of its normalisation, which every level must be divided by


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a run learns from, and what it builds; each stage reads what concerns it.

    Attributes:
        world: the world's name.
        scenes: how many of its training split, rendered once.
        side: of their pictures in pixels, a multiple of 64.
        crop: side of what the VAE sees of them, a multiple of 64.
        seed: of fresh weights.
        channels: the VAE's by level, from the picture's grid to that of the latents; None for
            those of `start`, or else the miniature's.
        decoder_only: whether the VAE's encoder stays that of `start`, and with it the latents that
            an LDM and heads have learned from.
        kind: of the head.
        taps: numbers of the blocks that the head reads.
        paintings: scenes that the head also learns from as the miniature paints them.
        start: weights to go on from, as if they were fresh: a head by its file or name, of the
            other stages a folder of weights, or "miniature" for those of the package.
    """

    world: str
    scenes: int
    side: int
    crop: int
    seed: int
    channels: tuple[int, ...] | None = None
    decoder_only: bool = False
    kind: Kind = "ldznet"
    taps: tuple[int, ...] = BLOCKS
    paintings: int = 0
    start: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what no stage can be made from.

        Raises:
            InputError: With what to change.
        """
        if self.world not in WORLDS:
            raise InputError(
                f"expected a world of {', '.join(WORLDS)}, got {self.world!r}: choose one"
            )
        if not 0 <= self.paintings <= self.scenes:
            raise InputError(
                f"expected paintings of at most {self.scenes} scenes, got {self.paintings}: lower "
                "--paintings"
            )
        sides_fit = not self.side % 64 and not self.crop % 64 and 64 <= self.crop <= self.side
        if self.scenes < 1 or not sides_fit:
            raise InputError(
                "expected scenes, and a side and a crop in multiples of 64 with the crop no "
                f"larger, got {self.scenes}, {self.side} and {self.crop}: correct them"
            )
        if self.decoder_only and self.start is None:
            raise InputError(
                "expected the weights whose encoder stays as it is, got none: name them with "
                "--start, or leave out --decoder-only"
            )
        channels = self.channels
        if channels is not None and (
            len(channels) != _LEVELS or any(each < 1 or each % _GROUPS for each in channels)
        ):
            raise InputError(
                f"expected the VAE's channels as {_LEVELS} multiples of {_GROUPS}, got "
                f"{', '.join(map(str, channels))}: correct --channels"
            )

    @property
    def start_folder(self) -> Path | None:
        """Of the weights to go on from, where they are not a head's."""
        return WEIGHTS if self.start == Path(MINIATURE) else self.start


def make_stage(name: StageName, run: Path, setup: Setup) -> Stage:
    """A stage with the caches and the earlier stages' weights that it builds on.

    Args:
        name: Which.
        run: The folder of the caches and the weights.
        setup: What is learned from, and what is built.

    Raises:
        CheckpointError: An earlier stage's weights are missing.
    """
    set_seed(setup.seed)
    state = PartialState(cpu=lacks_accelerator())
    with state.main_process_first():  # one process fills the caches, the others find them full
        return _make(name, run, setup, state.device)


def _make(name: StageName, run: Path, setup: Setup, device: torch.device) -> Stage:
    cache, weights = run / "cache", run / "weights"
    scenes = SceneCache(cache, setup.world, "train", setup.scenes, setup.side)
    held_out = SceneCache(cache, setup.world, "validation", _HELD_OUT, setup.side)
    if name == "vae":
        from .vae import VAEStage

        return VAEStage(
            scenes,
            held_out,
            setup.crop,
            setup.channels,
            setup.start_folder,
            decoder_only=setup.decoder_only,
        )
    if name == "ldm":
        from ..miniature.vae import load_vae
        from .ldm import LDMStage

        vae = load_vae(weights / "vae").to(device)
        return LDMStage(scenes, vae, latents_name(weights), start=setup.start_folder)
    from ..miniature import load_miniature
    from .head import HeadStage

    miniature = load_miniature(device, folder=weights)
    return HeadStage(
        scenes,
        held_out,
        miniature,
        weights,
        setup.kind,
        setup.taps,
        setup.paintings,
        setup.start,
    )
