"""The miniature's text encoder: a small CLIP that knows the words of its world.

It reads CLIP's own tokens, so every host's tokenizer fits it, but keeps an embedding row only for
the tokens of its world; all other tokens share the last row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from ..phrases import TOKEN_LIMIT
from ..sizes import whole
from ..tokenizer import VOCABULARY_SIZE, tokenize, tokenizer
from .parts import filled, load_part, part_read, save_part

__all__ = [
    "TextEncoder",
    "load_text_encoder",
    "over_tokens",
    "save_text_encoder",
    "tokenize",
    "tokens_of",
]

_ROWS_KEY, _EMBEDDING = "token_ids", "embeddings.token_embedding.weight"
_HEAD_WIDTH = 32  # of attention
_WIDEST, _MOST_LAYERS = 4096, 64  # beyond which a configuration is taken for damaged


class TextEncoder(nn.Module):
    """A CLIP text transformer over the tokens of a world."""

    rows: Tensor

    def __init__(self, token_ids: Sequence[int], width: int = 128, layers: int = 4) -> None:
        """Build it with fresh weights.

        Args:
            token_ids: the tokens that have an embedding of their own; start and end among them.
            width: channels of the context; a multiple of 32, the width of an attention head.
            layers: transformer layers.
        """
        super().__init__()
        self.width, self.layers = width, layers
        self.clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(token_ids) + 1,
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=layers,
                num_attention_heads=width // _HEAD_WIDTH,
                max_position_embeddings=TOKEN_LIMIT,
                hidden_act="quick_gelu",
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        )
        self.register_buffer("rows", _rows_of(token_ids), persistent=False)
        self.token_ids = tuple(token_ids)

    @property
    def transformer(self) -> nn.Module:
        """The network whose weights are stored; transformers 4 has one level more around it."""
        inner: nn.Module = getattr(self.clip, "text_model", self.clip)
        return inner

    def forward(self, token_ids: Tensor) -> Tensor:
        """``(B, 77)`` CLIP token ids as context ``(B, 77, width)``, after the last norm."""
        context: Tensor = self.clip(input_ids=self.rows[token_ids]).last_hidden_state
        return context


def tokens_of(words: Iterable[str]) -> tuple[int, ...]:
    """The token ids that any text of these words is made of; start and end among them."""
    return tuple(sorted({token for word in words for token in tokenizer()(word)["input_ids"]}))


def over_tokens(encoder: TextEncoder, token_ids: Sequence[int]) -> TextEncoder:
    """An encoder over other tokens, to be trained; it goes on from what another has learned.

    Args:
        encoder: Lends its weights, and the embeddings of the tokens that both know.
        token_ids: As of `TextEncoder`; those that are new have fresh embeddings.
    """
    grown = TextEncoder(token_ids, encoder.width, encoder.layers)
    state = encoder.transformer.state_dict()
    lent, rows = state[_EMBEDDING], grown.transformer.state_dict()[_EMBEDDING].clone()
    known = {token: row for row, token in enumerate(encoder.token_ids)}
    for row, token in enumerate(token_ids):
        if token in known:
            rows[row] = lent[known[token]]
    rows[-1] = lent[-1]  # of all other tokens
    grown.transformer.load_state_dict({**state, _EMBEDDING: rows})
    return grown


def save_text_encoder(encoder: TextEncoder, path: Path, provenance: str) -> None:
    """Write the encoder in half precision, with the ids of its embedding rows."""
    state = {**encoder.transformer.state_dict(), _ROWS_KEY: torch.tensor(encoder.token_ids)}
    save_part(state, path, {"width": encoder.width, "layers": encoder.layers}, provenance)


def load_text_encoder(path: Path) -> TextEncoder:
    """The encoder of a file that `save_text_encoder` wrote, in float32 and eval mode.

    Raises:
        CheckpointError: The file is missing, damaged, or of something else.
    """
    state, config = load_part(path)
    with part_read(path):
        token_ids = [whole(each + 1, VOCABULARY_SIZE) - 1 for each in state.pop(_ROWS_KEY).tolist()]
        width = whole(config["width"], _WIDEST)
        if width % _HEAD_WIDTH:
            raise ValueError(f"a width of {width}, which is no multiple of {_HEAD_WIDTH}")
        layers = whole(config["layers"], _MOST_LAYERS)
        rows = _rows_of(token_ids)
    encoder = filled(
        lambda: TextEncoder(token_ids, width, layers),
        state,
        path,
        lambda encoder: encoder.transformer,
    )
    encoder.rows = rows  # what no file stores was built without values
    embeddings: Any = encoder.transformer.embeddings
    embeddings.position_ids = torch.arange(TOKEN_LIMIT).expand(1, -1)
    return encoder


def _rows_of(token_ids: Sequence[int]) -> Tensor:
    """The embedding row of every token of CLIP's, ``(V,)``; the last one of all but these."""
    rows = torch.full((VOCABULARY_SIZE,), len(token_ids))
    rows[list(token_ids)] = torch.arange(len(token_ids))
    return rows
