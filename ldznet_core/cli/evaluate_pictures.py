"""``ldznet evaluate`` of pictures: the VAE's, and what judges see in those that are painted.

Judges are trained here, which takes the packages of training.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypeAlias

from ..checkpoint import load_head
from ..evaluation.painted import scenes_of
from ..evaluation.pictures.agreement import agree, ways_of
from ..evaluation.pictures.judge import train_judge
from ..evaluation.pictures.measures import recognise, reconstruction_psnr
from ..evaluation.pictures.rgb_judge import train_rgb_judge
from ..miniature import Miniature
from ..segmenter import Segmenter
from ..training.cache import SceneCache
from .evaluate_options import Options

Figures: TypeAlias = dict[str, Any]
"""Figures by name."""

_TRIED_ON = 500  # scenes of validation, for a judge's own accuracy


def reconstruction(options: Options, miniature: Miniature) -> Figures:
    """How near the VAE's pictures are to scenes; of "gen" to those that are painted anew."""
    split = scenes_of(options.split)
    return {
        "psnr_db": reconstruction_psnr(miniature, options.world, split, options.count),
        "scenes": options.count,
    }


def recognition(options: Options, miniature: Miniature) -> Figures:
    """In how many painted pictures a classifier of scenes sees the thing that was asked for."""
    judge = train_judge(*_scenes_of_judges(options, miniature))
    found = recognise(miniature, judge, options.samples, options.steps, options.guidance)
    return {"judge_accuracy": judge.accuracy, **asdict(found)}


def agreement(options: Options, miniature: Miniature, segmenter: Segmenter) -> Figures:
    """How far masks of painted pictures are those of a plain RGB segmenter, by head."""
    others = {name: Segmenter(miniature, load_head(name)) for name in options.other_head}
    judge = train_rgb_judge(*_scenes_of_judges(options, miniature))
    painted, found = agree(
        miniature,
        ways_of({options.head: segmenter, **others}),
        judge,
        options.world,
        options.samples,
        steps=options.steps,
        guidance=options.guidance,
    )
    return {
        "judge": {"accuracy": judge.accuracy, **painted.summary()},
        f"agreement on {options.samples} pictures": {
            name: each.summary() for name, each in found.items()
        },
    }


def _scenes_of_judges(options: Options, miniature: Miniature) -> tuple[SceneCache, SceneCache]:
    """What judges learn from, and what they are tried on."""
    cache, side = options.folder / "cache", miniature.image_side
    learnt = SceneCache(cache, options.world, "train", options.scenes, side)
    return learnt, SceneCache(cache, options.world, "validation", _TRIED_ON, side)
