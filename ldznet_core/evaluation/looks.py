"""What a trained head is shown of a picture, compared: ways that differ in nothing else.

Features may be captured while the picture is painted, or probed; under the phrase, the caption, or
no text; at one timestep or several; under one noise or several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch

from ..capture import Aim, Features
from ..errors import InputError
from ..head import Head
from ..masks import presence_scores
from ..segmenter import Segmenter
from ..world import caption
from .comparison.sight import Sight
from .comparison.ways import Answer, Way
from .painted import other_aims

Text: TypeAlias = Literal["phrase", "caption", "nothing"]
"""What a probe is made under."""

Show: TypeAlias = Callable[[Sight], Sequence[Features]]
"""Gives the features of each pass that is shown to the head."""

TIMESTEPS = (300, 400, 500)
"""Of which each is read alone, and all together."""

SEEDS = (0, 1, 2)
"""Of the noises that are read together."""

_NAMES: dict[Text, str] = {
    "phrase": "under the phrase",
    "caption": "under the caption",
    "nothing": "under no text",
}
_CONTROLS = (100, 999)  # less noise than heads are trained under, and nothing but noise


def looks_to_compare(
    segmenter: Segmenter,
    *,
    are_painted: bool = False,
    timesteps: Sequence[int] = TIMESTEPS,
    seeds: Sequence[int] = SEEDS,
) -> dict[str, Way]:
    """Every way to show a head a picture, by its name; the first is what users get.

    Args:
        segmenter: The miniature with a trained head that reads features.
        are_painted: Whether scenes are painted anew, so that something is captured on the way.
        timesteps: Read alone and together.
        seeds: Of noises that are read together, at the head's own timestep.

    Raises:
        InputError: The head reads no features.
    """
    head = segmenter.head
    if head.config.reads != "features":
        raise InputError(
            f"expected a trained head that reads features, got one that reads {head.config.reads}: "
            "name another"
        )
    own: Text = "nothing" if head.config.probes_once else "phrase"
    usual = head.config.timestep

    def one(text: Text = own, timestep: float = usual) -> Way:
        return _by_logits(segmenter, _probed(head, text, [timestep]))

    def averaged(name: str, show: Show) -> dict[str, Way]:
        return {
            f"{name}, logits averaged": _by_logits(segmenter, show),
            f"{name}, features averaged": _by_logits(segmenter, _averaged(head, show)),
        }

    ways = {
        f"**probe {_NAMES[own]}, t = {usual:g}**": one(),
        **{_NAMES[text]: one(text) for text in _NAMES if text != own},
        **{f"t = {each}": one(timestep=each) for each in timesteps if each != usual},
        **averaged(f"t = {', '.join(map(str, timesteps))}", _probed(head, own, timesteps)),
        **{f"control: t = {each}": one(timestep=each) for each in _CONTROLS if each != usual},
        **averaged(f"control: {len(seeds)} noises", _probed(head, own, [usual], seeds)),
    }
    if are_painted:
        ways |= {
            "captured while sampling": _by_logits(segmenter, _captured(segmenter.aim)),
            **averaged("captured at each step", _captured_at_each_step(segmenter.aim)),
            **{
                name: _by_logits(segmenter, _captured(aim))
                for name, aim in other_aims(segmenter.aim).items()
            },
        }
    return ways


def _by_logits(segmenter: Segmenter, show: Show) -> Way:
    """The mean of the logits that the head makes of each pass, as `Segmenter` has it."""

    def answer(sight: Sight) -> Answer:
        each = torch.stack([sight.logits(segmenter, features) for features in show(sight)])
        probabilities = each.mean(dim=0).sigmoid()
        return Answer(probabilities, presence_scores(probabilities), is_probability=True)

    return answer


def _probed(
    head: Head, text: Text, timesteps: Sequence[float], seeds: Sequence[int] = (0,)
) -> Show:
    def show(sight: Sight) -> list[Features]:
        texts = {
            "phrase": sight.phrases,
            "caption": [caption(sight.case.scene.layout, plain=True)],
            "nothing": [""],
        }[text]
        return [
            sight.features(head, texts, timestep, seed) for timestep in timesteps for seed in seeds
        ]

    return show


def _captured(aim: Aim) -> Show:
    def show(sight: Sight) -> list[Features]:
        nearest = aim.nearest(sight.steps)
        return [] if nearest is None else [nearest]

    return show


def _captured_at_each_step(aim: Aim) -> Show:
    return lambda sight: [each for each in sight.steps if aim.takes(each.timestep)]


def _averaged(head: Head, show: Show) -> Show:
    """The features' mean over all passes, as of one."""

    def mean(sight: Sight) -> list[Features]:
        several = show(sight)
        blocks = {
            block: torch.stack([features.blocks[block] for features in several]).mean(dim=0)
            for block in head.config.taps
        }
        timestep = sum(features.timestep for features in several) / len(several)
        return [Features(blocks, timestep, several[0].source)]

    return mean
