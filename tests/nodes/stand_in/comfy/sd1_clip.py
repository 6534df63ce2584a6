"""Imitates comfy/sd1_clip.py of ComfyUI 0.8.0: SD 1.x's tokenizer with weights, its text encoder.

Tokens are CLIP's own, from this project's copy of its vocabulary; the transformer is transformers'.
Embeddings (none is there), chunks without emphasis and layers to skip are as in the host, as
far as the pack asks.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ldznet_core

_TOKENIZER = Path(ldznet_core.__file__).parent / "tokenizer"
_LENGTH = 77


class SDTokenizer:
    """Texts as chunks of 77 of (token, weight, word); word 0 is start, end and padding."""

    def __init__(self, embedding_directory: Any = None, embedding_size: int = 768) -> None:
        from transformers import CLIPTokenizer

        self.tokenizer = CLIPTokenizer.from_pretrained(str(_TOKENIZER))
        self.start_token, self.end_token = self.tokenizer("")["input_ids"]
        self.embedding_size = embedding_size

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False
    ) -> list[list[tuple[Any, ...]]]:
        words = [
            (token, weight, number)
            for number, (segment, weight) in enumerate(_without_embeddings(text), start=1)
            for token in self.tokenizer(segment)["input_ids"][1:-1]
        ]
        room = _LENGTH - 2
        chunks = [words[start : start + room] for start in range(0, len(words), room)] or [[]]
        end = (self.end_token, 1.0, 0)
        whole = [
            [(self.start_token, 1.0, 0), *chunk, *[end] * (_LENGTH - 1 - len(chunk))]
            for chunk in chunks
        ]
        return [[token if return_word_ids else token[:2] for token in chunk] for chunk in whole]


class SD1Tokenizer:
    """The tokenizers of a CLIP by name; SD 1.x has one, called l."""

    def __init__(
        self, embedding_directory: Any = None, tokenizer: type[SDTokenizer] = SDTokenizer
    ) -> None:
        self.clip_l = tokenizer(embedding_directory=embedding_directory)

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False
    ) -> dict[str, list[list[tuple[Any, ...]]]]:
        return {"l": self.clip_l.tokenize_with_weights(text, return_word_ids)}


class SDClipModel(nn.Module):
    """CLIP's text transformer with the vocabulary that is fixed at 49408."""

    def __init__(
        self,
        device: Any = None,
        dtype: torch.dtype | None = None,
        textmodel_json_config: Mapping[str, Any] | None = None,
        return_projected_pooled: bool = True,
    ) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel

        super().__init__()
        sizes = {"vocab_size": 49408, "pad_token_id": 49407, **(textmodel_json_config or {})}
        self.transformer = CLIPTextModel(CLIPTextConfig(**sizes)).eval()
        self.layer: int | None = None

    def set_clip_options(self, options: Mapping[str, Any]) -> None:
        self.layer = options.get("layer", self.layer)

    def reset_clip_options(self) -> None:
        self.layer = None

    @torch.no_grad()
    def encode_token_weights(
        self, token_weight_pairs: Sequence[Sequence[tuple[int, float]]]
    ) -> tuple[Tensor, None]:
        """``(1, 77 x chunks, D)``; weights move a token from or to the empty prompt's."""
        empty = [_LENGTH * [(49407, 1.0)]]
        empty[0][0] = (49406, 1.0)
        chunks = [*token_weight_pairs, *empty]
        ids = torch.tensor([[token for token, _ in chunk] for chunk in chunks])
        weights = torch.tensor([[weight for _, weight in chunk] for chunk in chunks])[..., None]
        outputs = self.transformer(input_ids=ids, output_hidden_states=True)
        context = outputs.last_hidden_state
        if self.layer is not None:
            context = self._final_norm(outputs.hidden_states[self.layer])
        weighted = torch.where(
            weights == 1.0, context, (context - context[-1]) * weights + context[-1]
        )
        return torch.cat(list(weighted[:-1]))[None], None

    def load_sd(self, sd: Mapping[str, Tensor]) -> Any:
        """Take weights by the names that the host knows; says which are missing."""
        prefix = "text_model."
        has_prefix = any(name.startswith(prefix) for name in self.transformer.state_dict())
        weights = {name if has_prefix else name.removeprefix(prefix): sd[name] for name in sd}
        return self.transformer.load_state_dict(weights, strict=False)

    def _final_norm(self, hidden: Tensor) -> Tensor:
        model = getattr(self.transformer, "text_model", self.transformer)
        normed: Tensor = model.final_layer_norm(hidden)
        return normed


class SD1ClipModel(nn.Module):
    """The text encoders of a CLIP by name."""

    def __init__(
        self,
        device: Any = None,
        dtype: torch.dtype | None = None,
        clip_model: type[SDClipModel] = SDClipModel,
        model_options: Any = None,
    ) -> None:
        super().__init__()
        self.clip_l = clip_model(device=device, dtype=dtype)

    def set_clip_options(self, options: Mapping[str, Any]) -> None:
        self.clip_l.set_clip_options(options)

    def reset_clip_options(self) -> None:
        self.clip_l.reset_clip_options()

    def encode_token_weights(
        self, token_weight_pairs: Mapping[str, Sequence[Sequence[tuple[int, float]]]]
    ) -> tuple[Tensor, None]:
        return self.clip_l.encode_token_weights(token_weight_pairs["l"])

    def load_sd(self, sd: Mapping[str, Tensor]) -> Any:
        return self.clip_l.load_sd(sd)


def _without_embeddings(text: str) -> Iterator[tuple[str, float]]:
    """The segments without names of embeddings, none of which is there; the host logs such."""
    for segment, weight in _segments(text):
        for part in re.split(r" (?=embedding:)", segment):
            if part.startswith("embedding:"):
                name, _, part = part.partition(" ")
                logging.warning("%s does not exist, ignoring", name)
                part = name[len(name.rstrip(",")) :] + part
            if part:
                yield part, weight


def _segments(text: str) -> Iterator[tuple[str, float]]:
    r"""The parts of a prompt with weights: ``(red)`` is 1.1, ``(red:1.5)`` 1.5, ``\(`` a sign.

    One level of brackets is enough for these tests; the host knows more.
    """
    hidden = text.replace(r"\(", "\x01").replace(r"\)", "\x02")
    for part in re.findall(r"\([^()]*\)|[^()]+", hidden):
        weight = 1.0
        if part.startswith("("):
            part, _, written = part[1:-1].partition(":")
            weight = float(written or 1.1)
        yield part.replace("\x01", "(").replace("\x02", ")"), weight
