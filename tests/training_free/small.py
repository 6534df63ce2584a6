"""Small real UNets of every family, with random weights, and what a segmenter asks around them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ldznet_core.capture import Features, capturing
from ldznet_core.frames import pad_to_multiple
from ldznet_core.noise import NoiseSchedule
from ldznet_core.phrases import check_token_count
from ldznet_core.probe import probe_noise
from ldznet_core.taps import TapsOf, find_taps
from ldznet_core.training_free import LAYERS, Attention, attend, find_places
from ldznet_core.training_free.attention import Words
from ldznet_core.training_free.links import Link
from ldznet_core.unet import UNet, UNetConfig

from ..core.tiny import randomise

WIDTH = 16
"""Of the text features of all these."""

SDXL: dict[str, Any] = {
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}
"""What tells SDXL's UNet from SD 1.x', whatever the sizes (stabilityai/sdxl, unet/config.json)."""

CONFIGS: dict[str, dict[str, Any]] = {
    "sd1": {"block_out_channels": [32, 64, 64, 64], "attention_head_dim": 4},
    "sd2": {
        "block_out_channels": [32, 64, 128, 128],
        "attention_head_dim": [2, 4, 8, 8],
        "use_linear_projection": True,
    },
    "sdxl": SDXL
    | {
        "block_out_channels": [32, 64, 128],
        "attention_head_dim": [2, 4, 8],
        "transformer_layers_per_block": [1, 2, 3],
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": WIDTH + 6 * 8,
    },
}

OURS = UNetConfig(model_channels=32, channel_mult=(1, 2, 2, 2), context_dim=WIDTH, num_heads=4)

UNETS = ("ours", "sd1", "sd2", "sdxl")
FAMILY_OF = {"ours": "miniature", "sd1": "sd1", "sd2": "sd2", "sdxl": "sdxl"}


@cache
def small_unet(name: str) -> nn.Module:
    """One of `UNETS`, shared: whoever changes it changes it back."""
    if name == "ours":
        unet: nn.Module = UNet(OURS)
    else:
        unet = UNet2DConditionModel(cross_attention_dim=WIDTH, **CONFIGS[name])
    randomise(unet, 0)
    return unet.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(unet: nn.Module, latents: Tensor, context: Tensor, t: float = 100.0) -> Tensor:
    """What a UNet predicts, with the extra conditions that SDXL wants."""
    extra: dict[str, Any] = {}
    embedding: Any = getattr(unet, "add_embedding", None)
    if embedding is not None:
        config: Any = unet.config
        pooled = embedding.linear_1.in_features - 6 * config.addition_time_embed_dim
        extra["added_cond_kwargs"] = {
            "text_embeds": latents.new_zeros(len(context), pooled),
            "time_ids": latents.new_zeros(len(context), 6),
        }
    latents = latents.expand(len(context), -1, -1, -1)
    predicted = unet(latents, latents.new_full((len(context),), t), context, **extra)
    return cast("Tensor", getattr(predicted, "sample", predicted))


@torch.no_grad()
def captured(
    name: str, size: tuple[int, int] = (16, 24), seed: int = 0
) -> tuple[Features, nn.Module]:
    """What the places of a small UNet give for random latents of this size."""
    unet, layers = small_unet(name), LAYERS[FAMILY_OF[name]]
    with capturing(unet, find_places(unet, layers), stop_after_last=True) as capture:
        run(unet, noise(1, 4, *size, seed=seed), noise(1, 77, WIDTH, seed=9))
    return capture.features(100, "probe"), unet


def attention_for(
    name: str, counts: Sequence[int], size: tuple[int, int] = (16, 24), seed: int = 0
) -> Attention:
    """The attention of a small UNet for random phrases of so many tokens, ends included."""
    features, unet = captured(name, size, seed)
    layers = LAYERS[FAMILY_OF[name]]
    return attend(features, unet, layers, noise(len(counts), 77, WIDTH, seed=5), counts)


def random_words(
    phrases: int = 2, heads: int = 3, positions: int = 12, tokens: int = 77, seed: int = 0
) -> Words:
    depth = 5
    queries = noise(heads, positions, depth, seed=seed)
    return Words(queries, noise(phrases, heads, tokens, depth, seed=seed + 1))


def random_link(heads: int = 3, positions: int = 12, seed: int = 0) -> Link:
    return Link(noise(heads, positions, 5, seed=seed), noise(heads, positions, 5, seed=seed + 1))


def count_hooks(unet: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in unet.modules()
    )


class SmallBackbone:
    """An `AttentiveBackbone` around a small UNet; a word is a random vector, drawn by its text."""

    stride = 8

    def __init__(self, name: str) -> None:
        self.family = FAMILY_OF[name]
        self.unet = small_unet(name)
        self.schedule = NoiseSchedule()

    def encode_image(self, image: object) -> Tensor:
        raise NotImplementedError  # latents are given here

    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        return torch.stack([self._embedded(phrase) for phrase in phrases])

    def count_tokens(self, phrases: Sequence[str]) -> list[int]:
        return [len(phrase.split()) + 2 for phrase in phrases]

    @torch.no_grad()
    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = 400.0,
        generator: torch.Generator | None = None,
        taps_of: TapsOf = find_taps,
    ) -> Features:
        padded = pad_to_multiple(latents)
        noisy = self.schedule.add_noise(padded, probe_noise(padded, generator), t)
        with capturing(self.unet, taps_of(self.unet), stop_after_last=True) as capture:
            run(self.unet, noisy, self.encode_text(phrases), t)
        return capture.features(t, "probe")

    def _embedded(self, phrase: str) -> Tensor:
        words = phrase.split()
        check_token_count(phrase, len(words) + 2)
        rows = ["<start>", *words, *["<end>"] * (76 - len(words))]
        return torch.cat([noise(1, WIDTH, seed=sum(map(ord, row))) for row in rows])
