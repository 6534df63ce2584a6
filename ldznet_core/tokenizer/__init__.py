"""CLIP's tokenizer, from the files that lie here: SD 1.x and the miniature read the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from ..phrases import TOKEN_LIMIT, check_texts, check_token_count

__all__ = ["VOCABULARY_SIZE", "count_tokens", "tokenize", "tokenizer"]

VOCABULARY_SIZE = 49408
_END = 49407


@cache
def tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer, without the network."""
    return CLIPTokenizer.from_pretrained(str(Path(__file__).parent))


def tokenize(texts: Sequence[str]) -> Tensor:
    """``(B, 77)`` token ids, padded with the end token.

    Raises:
        InputError: There is no text, or one has more than 77 tokens.
    """
    ids = [_tokenize_one(text) for text in check_texts(texts)]
    return torch.tensor(ids, dtype=torch.long).reshape(len(ids), TOKEN_LIMIT)


def count_tokens(texts: Sequence[str]) -> list[int]:
    """How many tokens each text has, the start and the end token included."""
    return [len(_ids(text)) for text in texts]


def _tokenize_one(text: str) -> list[int]:
    ids = _ids(text)
    check_token_count(text, len(ids))
    return ids + [_END] * (TOKEN_LIMIT - len(ids))


def _ids(text: str) -> list[int]:
    """A text's tokens, however many: what is too long is ours to say, and not a warning's."""
    return list(tokenizer()(text, verbose=False)["input_ids"])
