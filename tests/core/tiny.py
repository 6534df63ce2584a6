"""A real but tiny backbone and heads for it: random weights, a linear VAE, words by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ldznet_core.capture import Features
from ldznet_core.head import CompactHead, HeadConfig, LDZNetHead, block_sizes
from ldznet_core.noise import NoiseSchedule
from ldznet_core.phrases import check_token_count
from ldznet_core.probe import probe_features
from ldznet_core.unet import UNet, UNetConfig

FAMILY = "tiny"
CONTEXT_DIM = 64
LDM_SIZES = UNetConfig(model_channels=32, context_dim=CONTEXT_DIM, num_heads=4)
COMPACT_TAPS = (6, 7, 8, 9, 10, 11, 12, 13)
HEAD_SIZES = UNetConfig(out_channels=1, model_channels=32, context_dim=CONTEXT_DIM, num_heads=4)


def _computes_in_float16() -> bool:
    try:
        nn.Linear(1, 1).half()(torch.ones(1, 1).half())
    except RuntimeError:
        return False
    return True


needs_float16 = pytest.mark.skipif(
    not _computes_in_float16(), reason="this PyTorch does not compute in float16 on a CPU"
)
"""For tests in float16: PyTorch 2.1 knows it on a CPU as a format of storage alone."""


def randomise(network: nn.Module, seed: int) -> None:
    """Give every weight a random value that keeps activations near 1; none is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:  # a bias, or the scale of a norm
                parameter.copy_(0.1 * noise + (0 if name.endswith("bias") else 1))


def tiny_head(**fields: Any) -> LDZNetHead:
    """A head with random weights, whose logits lie around 0 and vary; fields of its config."""
    head = LDZNetHead(HeadConfig(family=FAMILY, unet=HEAD_SIZES, image_side=64, **fields)).eval()
    randomise(head, 1)
    with torch.no_grad():
        for parameter in head.final.parameters():  # a decoder that lets its input through
            parameter.copy_(parameter.abs())
        logits = head(*tiny_inputs(head))
        head.final[-1].bias -= logits.median()
        for parameter in head.final[-1].parameters():
            parameter *= 2 / logits.std()
    return head


def tiny_inputs(
    head: LDZNetHead, rows: int = 1, size: tuple[int, int] = (8, 8), seed: int = 3
) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Random latents, context and features that fit a head."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    height, width = (-(-side // 8) * 8 for side in size)
    features = {
        block: noise(rows, places.channels, height // places.downscale, width // places.downscale)
        for block, places in block_sizes(head.config.unet).items()
        if block in head.config.taps
    }
    return noise(rows, 4, *size), noise(rows, 77, CONTEXT_DIM), features


def tiny_compact_head(**fields: Any) -> CompactHead:
    """A head of our own with random weights; fields of its config."""
    config = {
        "family": FAMILY,
        "unet": LDM_SIZES,
        "widths": (32, 32, 64),
        "taps": COMPACT_TAPS,
        **fields,
    }
    head = CompactHead(HeadConfig(kind="compact", **config)).eval()
    randomise(head, 1)
    return head


def compact_inputs(
    rows: int = 1, phrases: int = 1, size: tuple[int, int] = (8, 8), multiple: int = 8
) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Random latents, context and features that fit it; features in a frame of these multiples."""
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    features = {}
    for block, places in block_sizes(LDM_SIZES).items():
        frame = [-(-side // multiple) * multiple for side in size]
        sides = [-(-side // places.downscale) for side in frame]
        features[block] = noise(rows, places.channels, *sides)
    return noise(rows, 4, *size), noise(phrases, 77, CONTEXT_DIM), features


class TinyBackbone:
    """A `Backbone` whose parts are small enough for a test and real enough to fail like one."""

    family = FAMILY
    stride = 8
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.schedule = NoiseSchedule()
        self.unet = UNet(LDM_SIZES).eval()
        randomise(self.unet, 0)
        self.probes = 0
        generator = torch.Generator().manual_seed(7)
        basis = torch.linalg.qr(torch.randn(3 * 64, 4, generator=generator)).Q
        self._patches = basis.T.reshape(4, 3, 8, 8)

    def encode_image(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        return nn.functional.conv2d(pixels, self._patches, stride=8)

    def decode_image(self, latents: Tensor) -> Image.Image:
        pixels = nn.functional.conv_transpose2d(latents, self._patches, stride=8)
        levels = ((pixels[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return Image.fromarray(levels.permute(1, 2, 0).numpy())

    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        return torch.stack([self._embed(phrase) for phrase in phrases])

    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = 400.0,
        generator: torch.Generator | None = None,
    ) -> Features:
        self.probes += 1
        context = self.encode_text(phrases)
        return probe_features(self.unet, latents, context, self.schedule, t=t, generator=generator)

    def _embed(self, phrase: str) -> Tensor:
        words = phrase.split()
        check_token_count(phrase, len(words) + 2)
        rows = ["<start>", *words, *["<end>"] * (76 - len(words))]
        return torch.stack([_word(row) for row in rows])


def _word(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    return torch.randn(CONTEXT_DIM, generator=torch.Generator().manual_seed(seed))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth random picture."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)
