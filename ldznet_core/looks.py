"""The passes over a picture: planned from a procedure, made by a backbone, read by a head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from .backbone import AttentiveBackbone, Backbone, Posterior
from .capture import Features
from .errors import InputError, UnsupportedModelError
from .phrases import fill_template
from .procedure import OFFICIAL_TEMPLATES, OFFICIAL_TIMESTEPS, Procedure
from .segmentation import Request
from .training_free import Attention, TrainingFreeHead, attend

if TYPE_CHECKING:
    from .head import Head, HeadSettings

BlockFeatures: TypeAlias = Features | Mapping[Any, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A pass over a picture for some of its phrases, not made yet."""

    rows: slice
    """Which of the phrases, and then the negatives, it is for."""
    texts: list[str]
    """These, in their template."""
    latents: Tensor
    """``(1, C, h, w)``, clean."""
    timestep: float
    generator: torch.Generator
    """Source of the noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a pass gave for the head."""

    rows: slice
    latents: Tensor
    """``(1, C, h, w)``, clean."""
    context: Tensor
    """``(rows, T, D)`` text features."""
    features: BlockFeatures | Attention | None
    """Of the rows, or one for all; None for a head without taps."""


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """A picture that was looked at for a request, ready for the head."""

    request: Request
    seen: Iterable[Seen]
    """Every pass, or an iterator that makes them one by one."""
    frame: tuple[int, int]
    """(height, width) of the picture in the head's logits, from their top left corner."""
    size: tuple[int, int]
    """(height, width) of the masks."""


def plan_looks(
    procedure: Procedure,
    config: HeadSettings,
    request: Request,
    latents: Posterior | Tensor,
    phrases_per_pass: int,
    picture: bytes,
) -> Iterator[Look]:
    """The passes that a request takes.

    Args:
        procedure: How to look.
        config: The head's, for what the procedure leaves to it.
        request: What is asked.
        latents: ``(1, C, h, w)``, clean; or what they are drawn from.
        phrases_per_pass: How many phrases share a pass, unless each has its own randomness.
        picture: What tells the picture from others, for the official randomness.
    """
    if procedure.has_official_randomness:
        yield from _random_looks(procedure, request, latents, picture)
        return
    mode = latents.mode if isinstance(latents, Posterior) else latents
    template = config.template if procedure.template is None else procedure.template
    has_choice = procedure.timesteps and config.reads != "nothing"
    timesteps = procedure.timesteps if has_choice else (config.timestep,)
    for start in range(0, len(request.asked), phrases_per_pass):
        rows = slice(start, start + phrases_per_pass)
        texts = fill_template(template, request.asked[rows])
        for timestep in timesteps:
            yield Look(rows, texts, mode, timestep, procedure.generator())


def make_pass(backbone: Backbone, head: Head, look: Look) -> Seen:
    """Encode the texts of a look, and probe the backbone for what the head reads.

    Attention is read under no text at all: words are thought of afterwards.
    """
    context = backbone.encode_text(look.texts)
    seen = Seen(look.rows, look.latents, context, None)
    if head.config.reads == "nothing":
        return seen
    if isinstance(head, TrainingFreeHead):
        heard = _attentive(backbone).probe(
            look.latents, [""], t=look.timestep, generator=look.generator, taps_of=head.taps_of
        )
        return attended(backbone, head, look.texts, replace(seen, features=heard))
    features = backbone.probe(look.latents, look.texts, t=look.timestep, generator=look.generator)
    return replace(seen, features=features)


def attended(backbone: Backbone, head: TrainingFreeHead, texts: Sequence[str], seen: Seen) -> Seen:
    """What a head without weights reads of a pass: its attention for these texts.

    Raises:
        UnsupportedModelError: The backbone does not show its attention.
        InputError: What was captured is not its attention.
    """
    attentive = _attentive(backbone)
    if not isinstance(seen.features, Features):
        raise InputError(
            "expected attention captured as `Features`, got something else: capture it with "
            "head.taps_of, or make a probe"
        )
    counts = attentive.count_tokens(texts)
    layers = head.config.layers
    attention = attend(seen.features, attentive.unet, layers, seen.context, counts)
    return replace(seen, features=attention)


def _attentive(backbone: Backbone) -> AttentiveBackbone:
    if not isinstance(backbone, AttentiveBackbone):
        raise UnsupportedModelError(
            f"expected a model whose attention can be read, got {backbone.family!r}: choose a "
            "trained head"
        )
    return backbone


def given_passes(
    backbone: Backbone,
    head: Head,
    template: str,
    request: Request,
    latents: Tensor,
    features: BlockFeatures | None,
    blocks: Mapping[Any, Tensor],
    phrases_per_pass: int,
) -> Iterator[Seen]:
    """Passes over features that are there already.

    Args:
        backbone: Encodes the phrases.
        head: Reads them.
        template: What they are put into.
        request: What is asked.
        latents: ``(1, C, h, w)``, clean.
        features: As a caller gave them, for where they come from.
        blocks: What the head reads of them, ``(1, C, h, w)`` or a row for each phrase.
        phrases_per_pass: How many phrases share a pass.
    """
    for start in range(0, len(request.asked), phrases_per_pass):
        rows = slice(start, start + phrases_per_pass)
        texts = fill_template(template, request.asked[rows])
        context = backbone.encode_text(texts)
        if isinstance(head, TrainingFreeHead):
            seen = Seen(rows, latents, context, features)
            yield attended(backbone, head, texts, seen)
            continue
        of_rows = {n: each[rows] if len(each) > 1 else each for n, each in blocks.items()}
        if isinstance(features, Features) and blocks:
            yield Seen(rows, latents, context, replace(features, blocks=of_rows))
        else:
            yield Seen(rows, latents, context, of_rows)


def _random_looks(
    procedure: Procedure, request: Request, latents: Posterior | Tensor, picture: bytes
) -> Iterator[Look]:
    """A pass for each phrase, with the authors' four draws in their order."""
    for number, phrase in enumerate(request.asked):
        generator = procedure.generator(picture, phrase.encode())
        sample = _sample(latents, generator) if isinstance(latents, Posterior) else latents
        template = OFFICIAL_TEMPLATES[_draw(0, len(OFFICIAL_TEMPLATES), generator)]
        timestep = _draw(*OFFICIAL_TIMESTEPS, generator)
        texts = fill_template(template, [phrase])
        yield Look(slice(number, number + 1), texts, sample, timestep, generator)


def _sample(posterior: Posterior, generator: torch.Generator) -> Tensor:
    noise = torch.randn(posterior.mode.shape, generator=generator).to(posterior.mode)
    return posterior.mode + posterior.deviation * noise


def _draw(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from ``low`` to below ``high``."""
    return int(torch.randint(low, high, (), generator=generator))
