"""What the networks cost at the size of Stable Diffusion 1.x: random weights serve.

A comparison runs two ways of doing a thing in turn, in one process, and gives the median of the
ratios of their times. On the CPU these are CPU times, so that it holds on a machine that others
use too; on a CUDA device the times between events on its stream.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..capture import Features, capturing
from ..head import HeadConfig, LDZNetHead, block_sizes
from ..noise import NoiseSchedule
from ..probe import probe_features
from ..taps import BLOCKS, find_taps
from ..training_free import TrainingFree, TrainingFreeHead, attend
from ..unet import UNet, UNetConfig

TOKENS = 77

_CPU = torch.device("cpu")

Network = TypeVar("Network", bound=nn.Module)

Comparisons: TypeAlias = dict[str, tuple[Callable[[], object], Callable[[], object]]]
"""By name, what is examined and what it is compared with."""


@dataclass(slots=True)
class Bench:
    """The networks of SD 1.x, an input for them, and the comparisons that they allow."""

    side: int
    """Of the square picture, in pixels, a multiple of 64."""
    dtype: torch.dtype = torch.float32
    device: torch.device = _CPU
    sizes: UNetConfig = field(default_factory=UNetConfig)
    unet: UNet = field(init=False)
    rules: TrainingFreeHead = field(init=False)
    latents: Tensor = field(init=False)
    _head: LDZNetHead | None = field(init=False, default=None)
    _turned: UNet | None = field(init=False, default=None)
    _compiled: Callable[..., Tensor] | None = field(init=False, default=None)
    _attention: Features | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Build the UNet; its weights are random, its cost is not."""
        torch.manual_seed(0)
        self.unet = _light(UNet(self.sizes)).to(self.device, self.dtype).eval()
        self.rules = TrainingFree().for_family("sd1")
        self.latents = self._random(1, 4, self.side // 8, self.side // 8)

    def forget(self) -> None:
        """Let go of all but the UNet, so that a comparison's memory holds what it needs alone."""
        self._head = self._turned = self._compiled = self._attention = None

    @property
    def head(self) -> LDZNetHead:
        """A trained head's network, built when first asked for."""
        if self._head is None:
            sizes = UNetConfig(
                out_channels=1,
                model_channels=self.sizes.model_channels,
                context_dim=self.sizes.context_dim,
            )
            head = LDZNetHead(HeadConfig(family="sd1", unet=sizes))
            self._head = _light(head).to(self.device, self.dtype).eval()
        return self._head

    def comparisons(self) -> Comparisons:
        """Of the networks: by name, what is examined and what it is compared with."""
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

    def attention_comparisons(self) -> Comparisons:
        """Of masks without a trained head, likewise."""
        whole = self.unet_pass
        return {
            "pass with attention heard : UNet pass": (self.heard_pass, whole),
            "probe of attention : UNet pass": (self.attention_probe, whole),
            "reading 1 phrase : UNet pass": (lambda: self.reading(1), whole),
            "reading 4 phrases : UNet pass": (lambda: self.reading(4), whole),
            "reading 16 phrases : UNet pass": (lambda: self.reading(16), whole),
        }

    def context(self, rows: int = 1) -> Tensor:
        """Text features of no words."""
        return self._random(rows, TOKENS, self.sizes.context_dim)

    def unet_pass(self, unet: Callable[..., Tensor] | None = None) -> Tensor:
        """One whole pass for one prompt, without guidance."""
        chosen = self.unet if unet is None else unet
        timestep = torch.tensor([400], device=self.device)
        out: Tensor = chosen(self.latents, timestep, self.context())
        return out

    def captured_pass(self) -> Tensor:
        """The same with the taps heard."""
        with capturing(self.unet, find_taps(self.unet)):
            return self.unet_pass()

    def heard_pass(self) -> Features:
        """The same with the queries and keys heard that masks without a trained head read."""
        with capturing(self.unet, self.rules.taps_of(self.unet)) as capture:
            self.unet_pass()
        return capture.features(400, "sampling")

    def attention_probe(self) -> Features:
        """A pass that ends after the last of these."""
        taps_of = self.rules.taps_of
        with capturing(self.unet, taps_of(self.unet), stop_after_last=True) as capture:
            self.unet_pass()
        return capture.features(self.rules.config.timestep, "probe")

    def reading(self, phrases: int) -> Tensor:
        """Logits of phrases of three words, from attention that is there already."""
        if self._attention is None:
            self._attention = self.attention_probe()
        context, counts = self.context(phrases), [5] * phrases
        layers = self.rules.config.layers
        attention = attend(self._attention, self.unet, layers, context, counts)
        return self.rules(self.latents, context, attention)

    def kept_bytes(self) -> int:
        """What is kept of a picture's attention in half precision."""
        with torch.inference_mode():
            heard = self._attention or self.attention_probe()
        return sum(2 * each.numel() for each in heard.blocks.values())

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
            block: self._random(
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

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=self.dtype, device=self.device)


def _light(network: Network) -> Network:
    """The network with weights that keep numbers ordinary: denormal ones would cost more."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return network
