"""Phrases and pictures as the networks of Stable Diffusion take them, whatever the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

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


def token_rows(tokenizer: Any, phrases: Sequence[str]) -> Tensor:
    """The phrases as ``(P, 77)`` of CLIP's tokens, filled up with its end token, as SD 1.x was.

    Args:
        tokenizer: CLIP's, of transformers, such as every host has.
        phrases: Words; brackets and weights mean nothing.

    Raises:
        InputError: A phrase has more than 77 tokens.
    """
    rows = []
    for phrase in phrases:
        words = tokenizer(phrase, truncation=False, add_special_tokens=False)["input_ids"]
        check_token_count(phrase, len(words) + 2)
        filling = [tokenizer.eos_token_id] * (TOKEN_LIMIT - 1 - len(words))
        rows.append([tokenizer.bos_token_id, *words, *filling])
    return torch.tensor(rows)


def count_tokens(tokenizer: Any, phrases: Sequence[str]) -> list[int]:
    """How many of CLIP's tokens each phrase has, the start and the end token included."""
    return [
        len(tokenizer(phrase, truncation=False, add_special_tokens=False)["input_ids"]) + 2
        for phrase in phrases
    ]


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
