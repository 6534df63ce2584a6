"""The passes over a picture: planned from a procedure, made by a backbone, read by a head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import torch
from torch import Tensor

from .backbone import AttentiveBackbone, Backbone, Posterior
from .capture import Features
from .errors import InputError, UnsupportedModelError
from .phrases import fill_template, without_article
from .procedure import OFFICIAL_TEMPLATES, OFFICIAL_TIMESTEPS, Procedure
from .segmentation import Request
from .training_free import Attention, TrainingFreeHead, attend, glance

if TYPE_CHECKING:
    from .head import Head, HeadSettings

BlockFeatures: TypeAlias = Features | Mapping[Any, Tensor]


@dataclass(frozen=True, slots=True)
class Portion:
    """Phrases that go through the networks at once."""

    rows: slice
    """Which of the phrases, and then the negatives, they are."""
    texts: list[str]
    """These, in their template."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A pass over a picture, not made yet."""

    portions: tuple[Portion, ...]
    """What is read off it: one, unless phrases do not condition the pass."""
    latents: Tensor
    """``(1, C, h, w)``, clean."""
    timestep: float
    generator: torch.Generator
    """Source of the noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a pass gave for the head, for a portion of the phrases."""

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
    """Every portion, or an iterator that makes the passes one by one."""
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
        phrases_per_pass: How many phrases make a portion, unless each has its own randomness.
        picture: What tells the picture from others, for the official randomness.
    """
    if procedure.has_official_randomness:
        yield from _random_looks(procedure, request, latents, picture)
        return
    mode = latents.mode if isinstance(latents, Posterior) else latents
    template = config.template if procedure.template is None else procedure.template
    has_choice = procedure.timesteps and config.reads != "nothing"
    timesteps = procedure.timesteps if has_choice else (config.timestep,)
    portions = _portions(config, template, request, phrases_per_pass)
    shared = [portions] if config.probes_once else [(portion,) for portion in portions]
    for together in shared:
        for timestep in timesteps:
            yield Look(together, mode, timestep, procedure.generator())


def make_pass(backbone: Backbone, head: Head, look: Look) -> Iterator[Seen]:
    """Encode the texts of a look, and probe the backbone for what the head reads.

    What is read once for all phrases is read under no text: they are thought of afterwards.
    """
    contexts = [backbone.encode_text(portion.texts) for portion in look.portions]
    features = None
    if head.config.reads != "nothing":
        texts = [""] if head.config.probes_once else look.portions[0].texts
        features = _probe(backbone, head, look, texts)
    if isinstance(head, TrainingFreeHead):
        yield from _attended(backbone, head, look.portions, look.latents, contexts, features)
        return
    for portion, context in zip(look.portions, contexts, strict=True):
        yield Seen(portion.rows, look.latents, context, features)


def _probe(backbone: Backbone, head: Head, look: Look, texts: list[str]) -> Features:
    if head.config.reads == "attention" or _is_attentive(backbone):
        return _attentive(backbone).probe(
            look.latents, texts, t=look.timestep, generator=look.generator, taps_of=head.taps_of
        )
    return backbone.probe(look.latents, texts, t=look.timestep, generator=look.generator)


def _attended(
    backbone: Backbone,
    head: TrainingFreeHead,
    portions: Sequence[Portion],
    latents: Tensor,
    contexts: Iterable[Tensor],
    features: BlockFeatures | None,
) -> Iterator[Seen]:
    """What a head without weights reads of one pass: its attention for each portion of phrases.

    Raises:
        UnsupportedModelError: The backbone does not show its attention.
        InputError: What was captured is not its attention.
    """
    attentive, layers = _attentive(backbone), head.config.layers
    if not isinstance(features, Features):
        raise InputError(
            "expected attention captured as `Features`, got something else: capture it with "
            "head.taps_of, or make a probe"
        )
    glanced = glance(features, attentive.unet, layers)
    for portion, context in zip(portions, contexts, strict=True):
        counts = attentive.count_tokens(portion.texts)
        attention = attend(glanced, attentive.unet, layers, context, counts)
        yield Seen(portion.rows, latents, context, attention)


def _is_attentive(backbone: Backbone) -> TypeGuard[AttentiveBackbone]:
    """Asked of a method: before Python 3.12 `isinstance` would read `unet`, which may load it."""
    return callable(getattr(backbone, "count_tokens", None))


def _attentive(backbone: Backbone) -> AttentiveBackbone:
    if not _is_attentive(backbone):
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
        phrases_per_pass: How many phrases make a portion.
    """
    portions = _portions(head.config, template, request, phrases_per_pass)
    contexts = (backbone.encode_text(portion.texts) for portion in portions)
    if isinstance(head, TrainingFreeHead):
        yield from _attended(backbone, head, portions, latents, list(contexts), features)
        return
    for portion, context in zip(portions, contexts, strict=True):
        rows = portion.rows
        of_rows = {n: each[rows] if len(each) > 1 else each for n, each in blocks.items()}
        if isinstance(features, Features) and blocks:
            yield Seen(rows, latents, context, replace(features, blocks=of_rows))
        else:
            yield Seen(rows, latents, context, of_rows)


def _portions(
    config: HeadSettings, template: str, request: Request, most: int
) -> tuple[Portion, ...]:
    """All that is asked, at most so many phrases at once.

    To attention, which averages a phrase's words, an article is a word like the others, and one
    that nothing in a picture fits; so it is left out.
    """
    asked: Sequence[str] = request.asked
    if config.reads == "attention":
        asked = [without_article(phrase) for phrase in asked]
    slices = [slice(start, start + most) for start in range(0, len(asked), most)]
    return tuple(Portion(rows, fill_template(template, asked[rows])) for rows in slices)


def _random_looks(
    procedure: Procedure, request: Request, latents: Posterior | Tensor, picture: bytes
) -> Iterator[Look]:
    """A pass for each phrase, with the authors' four draws in their order."""
    for number, phrase in enumerate(request.asked):
        generator = procedure.generator(picture, phrase.encode())
        sample = _sample(latents, generator) if isinstance(latents, Posterior) else latents
        template = OFFICIAL_TEMPLATES[_draw(0, len(OFFICIAL_TEMPLATES), generator)]
        timestep = _draw(*OFFICIAL_TIMESTEPS, generator)
        portion = Portion(slice(number, number + 1), fill_template(template, [phrase]))
        yield Look((portion,), sample, timestep, generator)


def _sample(posterior: Posterior, generator: torch.Generator) -> Tensor:
    noise = torch.randn(posterior.mode.shape, generator=generator).to(posterior.mode)
    return posterior.mode + posterior.deviation * noise


def _draw(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from ``low`` to below ``high``."""
    return int(torch.randint(low, high, (), generator=generator))
