"""What the networks cost at the size of Stable Diffusion 1.x: random weights serve.

A comparison runs two ways of doing a thing in turn, in one process, and gives the median of the
ratios of their CPU times: so it holds on a machine that others use too.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..capture import capturing
from ..head import HeadConfig, LDZNetHead, block_sizes
from ..noise import NoiseSchedule
from ..probe import probe_features
from ..taps import BLOCKS, find_taps
from ..unet import UNet, UNetConfig

TOKENS = 77

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Ratio:
    """What a comparison gave."""

    name: str
    seconds: float
    """CPU seconds of the way that is examined, the median."""
    reference_seconds: float
    """CPU seconds of the way that it is compared with, the median."""
    ratio: float
    """The median of the pairs' ratios."""


@dataclass(slots=True)
class Bench:
    """The networks of SD 1.x, an input for them, and the comparisons that they allow."""

    side: int
    """Of the square picture, in pixels, a multiple of 64."""
    dtype: torch.dtype = torch.float32
    sizes: UNetConfig = field(default_factory=UNetConfig)
    unet: UNet = field(init=False)
    head: LDZNetHead = field(init=False)
    latents: Tensor = field(init=False)
    _turned: UNet | None = field(init=False, default=None)
    _compiled: Callable[..., Tensor] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Build both networks; their weights are random, their cost is not."""
        torch.manual_seed(0)
        self.unet = _light(UNet(self.sizes)).to(self.dtype).eval()
        head_sizes = UNetConfig(
            out_channels=1,
            model_channels=self.sizes.model_channels,
            context_dim=self.sizes.context_dim,
        )
        head = LDZNetHead(HeadConfig(family="sd1", unet=head_sizes))
        self.head = _light(head).to(self.dtype).eval()
        self.latents = torch.randn(1, 4, self.side // 8, self.side // 8, dtype=self.dtype)

    def comparisons(self) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
        """By name, what is examined and what it is compared with."""
        whole = self.unet_pass
        return {
            "captured pass : UNet pass": (self.captured_pass, whole),
            "probe : UNet pass": (self.probe, whole),
            "head : UNet pass": (self.head_pass, whole),
            "probe + head, 4 phrases : 1": (lambda: self.masks(4), lambda: self.masks(1)),
            "probe + head, 16 phrases : 1": (lambda: self.masks(16), lambda: self.masks(1)),
            "plain attention : SDPA": (self.plain_attention_pass, whole),
            "channels last : first": (self.channels_last_pass, whole),
            "compiled : as written": (self.compiled_pass, whole),
        }

    def context(self, rows: int = 1) -> Tensor:
        """Text features of no words."""
        return torch.randn(rows, TOKENS, self.sizes.context_dim, dtype=self.dtype)

    def unet_pass(self, unet: Callable[..., Tensor] | None = None) -> Tensor:
        """One whole pass for one prompt, without guidance."""
        chosen = self.unet if unet is None else unet
        out: Tensor = chosen(self.latents, torch.tensor([400]), self.context())
        return out

    def captured_pass(self) -> Tensor:
        """The same with the taps heard."""
        with capturing(self.unet, find_taps(self.unet)):
            return self.unet_pass()

    def plain_attention_pass(self) -> Tensor:
        """The same with attention as matrix product, softmax and matrix product."""
        with sdpa_kernel(SDPBackend.MATH):
            return self.unet_pass()

    def channels_last_pass(self) -> Tensor:
        """The same with a UNet whose convolutions have their channels last in memory."""
        if self._turned is None:
            self._turned = copy.deepcopy(self.unet)
            for parameter in self._turned.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return self.unet_pass(self._turned)

    def compiled_pass(self) -> Tensor:
        """The same by torch.compile, which takes minutes at first and needs a C++ compiler."""
        if self._compiled is None:
            self._compiled = torch.compile(self.unet)
        return self.unet_pass(self._compiled)

    def probe(self, phrases: int = 1) -> dict[int, Tensor]:
        """A pass that ends after the last tap."""
        taken = probe_features(self.unet, self.latents, self.context(phrases), NoiseSchedule())
        return dict(taken.blocks)

    def head_pass(self, phrases: int = 1, features: dict[int, Tensor] | None = None) -> Tensor:
        """Logits of phrases."""
        side = self.side // 8
        features = features or {
            block: torch.randn(
                phrases, size.channels, side // size.downscale, side // size.downscale
            )
            for block, size in block_sizes(self.sizes).items()
            if block in BLOCKS
        }
        logits: Tensor = self.head(self.latents, self.context(phrases), features)
        return logits

    def masks(self, phrases: int) -> Tensor:
        """What a picture without captured features costs."""
        return self.head_pass(phrases, self.probe(phrases))


def compare(
    name: str, examined: Callable[[], object], reference: Callable[[], object], pairs: int
) -> Ratio:
    """Run both ways in turn, each pair in the other order, after one run of each to warm up."""
    ways = (examined, reference)
    seconds: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for way in ways:
            way()
        for pair in range(pairs):
            for index in (0, 1) if pair % 2 else (1, 0):
                with _timed(seconds[index]):
                    ways[index]()
    ratios = [one / other for one, other in zip(*seconds, strict=True)]
    medians = [statistics.median(each) for each in seconds]
    return Ratio(name, medians[0], medians[1], statistics.median(ratios))


@contextmanager
def _timed(seconds: list[float]) -> Iterator[None]:
    began = time.process_time()
    yield
    seconds.append(time.process_time() - began)


def _light(network: Network) -> Network:
    """The network with weights that keep numbers ordinary: denormal ones would cost more."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return network
