"""What was read of a pass, with the keys of phrases that may be thought of long after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..capture import Features, Source
from ..errors import InputError
from .layers import Layers
from .links import Link, Links
from .places import Place, attention_of


class Words(NamedTuple):
    """What each position of a block asks of the text, and what the phrases answer."""

    queries: Tensor
    """``(heads, N, d)``."""
    keys: Tensor
    """``(P, heads, T, d)``, the start token's first."""


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """What a pass showed of one picture, whichever phrases will be asked for; in float32."""

    queries: Mapping[int, Tensor]
    """By block, what is asked of the text, ``(heads, N, d)``."""
    links: Links
    timestep: float
    """Where on the noise schedule it was read, 0 to 999."""
    source: Source


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """The attention of one picture for some phrases, in float32."""

    words: Mapping[int, Words]
    """By block."""
    links: Links
    """By block."""
    counts: tuple[int, ...]
    """How many tokens each phrase has, the start and the end token not counted."""
    timestep: float
    """Where on the noise schedule it was read, 0 to 999."""
    source: Source

    @property
    def positions(self) -> set[int]:
        """How many positions its blocks have, on each of their grids."""
        asking = (each.queries for each in self.words.values())
        linked = (each.queries for each in self.links.values())
        return {queries.shape[1] for queries in (*asking, *linked)}


@torch.inference_mode()
def glance(features: Features, unet: nn.Module, layers: Layers) -> Glance:
    """Sort what was captured of a picture, once for all portions of its phrases.

    Args:
        features: One row of every place of `find_places`.
        unet: Which gave them, or another of its family with the same layers.
        layers: Of its family.

    Raises:
        InputError: A place is missing, or not of one picture.
    """

    def heads_at(place: Place) -> int:
        attention: Any = attention_of(unet, place, layers)
        return attention.heads  # type: ignore[no-any-return]

    links = _links(
        features, {block: heads_at(Place(block, "links.query")) for block in layers.links}
    )
    asking = {block: Place(block, "words.query") for block in layers.asking}
    queries = {block: _read(features, place, heads_at(place)) for block, place in asking.items()}
    return Glance(queries, links, features.timestep, features.source)


_LAST_LINKS: WeakKeyDictionary[Features, tuple[dict[int, int], Links]] = WeakKeyDictionary()
"""Of the last picture alone, as long as somebody keeps its features; with the heads of each block.

So another phrase for it costs no second matrix, which takes a CPU seconds for SDXL at 1024 pixels.
"""


def _links(features: Features, heads: dict[int, int]) -> Links:
    """The links of blocks with so many heads."""
    last = _LAST_LINKS.get(features)
    if last is None or last[0] != heads:
        links = {
            block: Link(
                _read(features, Place(block, "links.query"), count),
                _read(features, Place(block, "links.key"), count),
            )
            for block, count in heads.items()
        }
        last = heads, Links(links)
        _LAST_LINKS.clear()
        _LAST_LINKS[features] = last
    return last[1]


@torch.inference_mode()
def attend(
    seen: Features | Glance,
    unet: nn.Module,
    layers: Layers,
    context: Tensor,
    counts: Sequence[int],
) -> Attention:
    """Join what was captured of a picture with the keys of phrases.

    No attention is computed here, and no pass is made: keys are a linear layer of the text.

    Args:
        seen: As `glance` takes it; or what that gave, where phrases come in portions.
        unet: Which gave it, or another of its family with the same layers.
        layers: Of its family.
        context: ``(P, T, D)`` text features of the phrases.
        counts: Tokens of each phrase, the start and the end token included.

    Raises:
        InputError: A place is missing, or not of one picture; or a phrase has no tokens.
    """
    if min(counts, default=3) < 3:  # such as "()", where a host takes brackets for emphasis
        raise InputError(
            "expected words in every phrase, got one without a token: write what to find, or leave "
            "it out"
        )
    seen = glance(seen, unet, layers) if isinstance(seen, Features) else seen
    words = {}
    for block, queries in seen.queries.items():
        attention: Any = attention_of(unet, Place(block, "words.query"), layers)
        keys = _keys(attention.to_k, context)
        split = torch.stack([_split(each, attention.heads) for each in keys]).cpu()
        words[block] = Words(queries, split)
    words_only = tuple(count - 2 for count in counts)
    return Attention(words, seen.links, words_only, seen.timestep, seen.source)


def _keys(layer: Any, context: Tensor) -> Tensor:
    """What a linear layer makes of ``(P, T, D)``.

    A host's own layer is asked itself, for it may add a LoRA or unpack its weights as it computes;
    torch's, where its weights lie in a form that it cannot compute in, is computed in float32.
    """
    weight = layer.weight
    computes = weight.dtype in (torch.float32, torch.bfloat16, torch.float16)
    is_half_on_cpu = weight.dtype == torch.float16 and weight.device.type == "cpu"
    is_host_s = type(layer).forward is not nn.Linear.forward
    if is_host_s or (computes and not is_half_on_cpu):
        dtype = weight.dtype if computes else torch.float32
        return layer(context.to(weight.device, dtype))  # type: ignore[no-any-return]
    return F.linear(context.to(weight.device, torch.float32), weight.float())


def _read(features: Features, place: Place, heads: int) -> Tensor:
    """What a place gave, ``(heads, N, d)`` in float32 on the CPU."""
    given = features.blocks.get(place)
    if given is None or len(given) != 1:
        got = "none" if given is None else f"{len(given)} rows"
        raise InputError(
            f"expected one row of {place.part} in block {place.block}, got {got}: capture the "
            "places of this family, of one picture"
        )
    return _split(given[0], heads).cpu()


def _split(tokens: Tensor, heads: int) -> Tensor:
    """``(N, C)`` as ``(heads, N, C / heads)`` in float32."""
    return tokens.float().reshape(len(tokens), heads, -1).transpose(0, 1)
