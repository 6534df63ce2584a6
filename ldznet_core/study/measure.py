"""A trained head on the held-out splits, with thresholds that another split chose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from ..evaluation.masks import is_small
from ..head import AnyHead
from ..metrics.clipseg import ClipSegTally
from ..metrics.thresholds import part
from ..miniature import Miniature
from ..segmenter import Segmenter
from .cells import SplitFigures
from .designs import Design
from .held_out import CHOOSING, HeldOut

_ANY = 0.5  # a threshold that is measured and not looked at


@dataclass(frozen=True, slots=True)
class Measured:
    """The thresholds, and the figures of each split that they were not chosen on."""

    mask_threshold: float
    presence_threshold: float
    splits: dict[str, SplitFigures]


@torch.inference_mode()
def measure(
    head: AnyHead,
    design: Design,
    miniature: Miniature,
    held_out: Callable[[str], HeldOut],
    splits: Iterable[str],
) -> Measured:
    """Segment every held-out scene as users would, and judge masks and scores.

    The mask threshold is the best for things on the choosing split, the presence threshold the
    lowest that rejects 93 % of what is absent there.

    Args:
        head: In which the trained weights are.
        design: What it is.
        miniature: Encodes the phrases.
        held_out: Gives a split's scenes.
        splits: Those that are measured.
    """
    segmenter = Segmenter(miniature, head)
    chosen = _answers(segmenter, design, held_out(CHOOSING), _ANY)
    mask_threshold = chosen.things.figures().best_miou.threshold
    presence_threshold = part(chosen.present, chosen.absent)
    figures = {
        split: _answers(segmenter, design, held_out(split), mask_threshold).figures(
            presence_threshold
        )
        for split in splits
    }
    return Measured(mask_threshold, presence_threshold, figures)


@dataclass(slots=True)
class _Answers:
    """What a head said of a split."""

    things: ClipSegTally
    everything: ClipSegTally
    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)

    def figures(self, presence_threshold: float) -> SplitFigures:
        every = self.everything.figures()
        found = [score >= presence_threshold for score in self.present]
        rejected = [score < presence_threshold for score in self.absent]
        return SplitFigures(
            things_miou=self.things.figures().fixed.miou,
            best_miou=every.best_miou.value,
            best_iou_fg=every.best_iou_fg.value,
            ap=every.ap or 0.0,
            present_found=sum(found) / len(found),
            absent_rejected=sum(rejected) / len(rejected),
        )


def _answers(segmenter: Segmenter, design: Design, held_out: HeldOut, threshold: float) -> _Answers:
    answers = _Answers(ClipSegTally(threshold), ClipSegTally(threshold))
    for index, case in enumerate(held_out.cases):
        latents, features = held_out.given(design, index)
        texts = [phrase.text for phrase in case.phrases]
        given = segmenter.segment_features(latents, features, texts)
        for phrase, score, share in zip(
            case.phrases, given.scores, given.probabilities.cpu().numpy(), strict=True
        ):
            if phrase.is_absent:
                answers.absent.append(score)
                continue
            truth = case.mask(phrase)
            answers.present.append(score)
            answers.everything.add(share, truth)
            if not case.is_stuff(phrase) and not is_small(truth):
                answers.things.add(share, truth)
    return answers
