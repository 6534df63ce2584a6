"""Phrases and pictures as the networks of Stable Diffusion take them, whatever the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from ldznet_core.phrases import TOKEN_LIMIT, check_token_count

if TYPE_CHECKING:
    from PIL.Image import Image


def pixels_of(image: Image) -> Tensor:
    """An RGB picture as ``(1, 3, H, W)`` in [-1, 1]."""
    levels = torch.from_numpy(np.asarray(image).copy())
    return (levels.permute(2, 0, 1)[None].float() / 127.5) - 1


class TextEncoder(Protocol):
    """What the hosts' text encoders have in common, whichever network is in them."""

    id_start: int
    id_end: int
    id_pad: int
    """Fills up what comes after the end: its token in SD 1.x, another one in OpenCLIP."""

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """The tokens of each text, without start and end; brackets and weights mean nothing."""


def token_rows(encoder: TextEncoder, phrases: Sequence[str]) -> Tensor:
    """The phrases as ``(P, 77)`` tokens, filled up as the encoder was trained on them.

    Raises:
        InputError: A phrase has more than 77 tokens.
    """
    rows = []
    for phrase, words in zip(phrases, encoder.tokenize(list(phrases)), strict=True):
        check_token_count(phrase, len(words) + 2)
        filling = [encoder.id_pad] * (TOKEN_LIMIT - 2 - len(words))
        rows.append([encoder.id_start, *words, encoder.id_end, *filling])
    return torch.tensor(rows)


def count_tokens(encoders: Sequence[TextEncoder], phrases: Sequence[str]) -> list[int]:
    """How many tokens each phrase has, the start and the end token included.

    SDXL's two encoders share a vocabulary, but not all of the rules before it.
    """
    rows = zip(*(encoder.tokenize(list(phrases)) for encoder in encoders), strict=True)
    return [2 + max(map(len, row)) for row in rows]


class Contexts:
    """Text features of phrases, each made once, and alone: so none depends on its company."""

    def __init__(self, encode: Callable[[Sequence[str]], Tensor]) -> None:
        """Keep what a text encoder gives for ``(P,)`` phrases: ``(P, 77, D)``."""
        self._encode = encode
        self._kept: dict[str, Tensor] = {}

    def of(self, phrases: Sequence[str]) -> Tensor:
        """``(P, 77, D)``."""
        for phrase in phrases:
            if phrase not in self._kept:
                self._kept[phrase] = self._encode([phrase])
        return torch.cat([self._kept[phrase] for phrase in phrases])
