"""What the paper's head adds to the UNet: feature pools, a third attention, a mask decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import InputError
from ..unet import CrossAttention, FeedForward, SpatialTransformer, UNetConfig


class AttentionPool(nn.Module):
    """A feature map as tokens that know their places and have looked at each other.

    The tokens are the map's mean and then its positions, row by row. Each gets its entry of a
    learned positional table before one self-attention. The table is resized to maps of another
    shape; the authors' code compares token counts alone, and so adds a 12x12 table unresampled to a
    6x24 map (koutilya-pnvr/LD-ZNet:ldm_seg/modules/diffusionmodules/ldznet_UNet.py@3d28f76).
    """

    def __init__(self, channels: int, heads: int, side: int, *, by_count: bool = False) -> None:
        """Build with fresh weights.

        Args:
            channels: C of the feature map.
            heads: Attention heads; they divide C.
            side: Side of the square map that the positional table is for.
            by_count: Whether to leave the table as it is on any map of as many positions, as the
                authors do.
        """
        super().__init__()
        self.heads = heads
        self.side = side
        self.by_count = by_count
        table = torch.empty(channels, side * side + 1)  # column 0 is the mean token's
        if not table.is_meta:  # there it would draw in vain, and import PyTorch's compiler
            nn.init.normal_(table, std=channels**-0.5)
        self.positional_embedding = nn.Parameter(table)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, channels, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """``(B, C, h, w)`` of any size to ``(B, 1 + hw, C)`` tokens, the mean token first."""
        tokens = feature.flatten(2)  # (B, C, hw)
        tokens = torch.cat([tokens.mean(dim=2, keepdim=True), tokens], dim=2)
        tokens = (tokens + self._positions(feature)).transpose(1, 2)  # (B, 1 + hw, C)
        query, key, value = (
            rearrange(part, "b n (heads c) -> b heads n c", heads=self.heads)
            for part in _pointwise(self.qkv_proj, tokens).chunk(3, dim=2)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return _pointwise(self.c_proj, rearrange(attended, "b heads n c -> b n (heads c)"))

    def _positions(self, feature: Tensor) -> Tensor:
        """The positional table for this map, ``(C, 1 + hw)``."""
        height, width = feature.shape[-2:]
        is_equal_count = self.by_count and height * width == self.side**2
        if is_equal_count or (height, width) == (self.side, self.side):
            return self.positional_embedding
        table = self.positional_embedding.float()
        grid = rearrange(table[:, 1:], "c (h w) -> 1 c h w", h=self.side)
        grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
        return torch.cat([table[:, :1], grid[0].flatten(1)], dim=1).to(feature.dtype)


class FeatureBlock(nn.Module):
    """A transformer block with a third attention, from its tokens to the LDM's features."""

    def __init__(self, channels: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, heads)
        self.ff = FeedForward(channels)
        self.attn2 = CrossAttention(channels, context_dim, heads)
        self.attn3 = CrossAttention(channels, channels, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm_sd = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, x: Tensor, context: Tensor, feature_tokens: Tensor) -> Tensor:
        """Tokens that have read the text and the features.

        Args:
            x: ``(B, N, C)`` tokens.
            context: ``(B, T, D)`` text features.
            feature_tokens: ``(B, M, C)`` from the `AttentionPool`; they are not normalised.
        """
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), context) + x
        x = self.attn3(self.norm_sd(x), feature_tokens) + x
        out: Tensor = self.ff(self.norm3(x)) + x
        return out


class FeatureTransformer(SpatialTransformer):
    """The spatial transformer of a tapped block."""

    def __init__(self, block: int, channels: int, pool: AttentionPool, unet: UNetConfig) -> None:
        """Build with fresh weights.

        Args:
            block: The number under which it finds its features.
            channels: Those of its map, and of the features.
            pool: Makes tokens of the features.
            unet: Sizes of the UNet that it stands in.
        """
        super().__init__(channels, unet.context_dim, unet.num_heads)
        self.block = block
        self.attentionpool2D = pool
        self.transformer_blocks = nn.ModuleList(
            [FeatureBlock(channels, unet.context_dim, unet.num_heads)]
        )

    def forward(
        self, x: Tensor, context: Tensor, features: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """The map after it has read the text and its block's features.

        Args:
            x: ``(B, C, h, w)``.
            context: ``(B, T, D)`` text features.
            features: By block number, ``(B, C, h', w')`` or one row for all.

        Raises:
            InputError: The features of this block are missing.
        """
        if features is None or self.block not in features:
            raise InputError(f"expected features of block {self.block}, got none: capture that tap")
        tokens = self.to_tokens(x)
        feature_tokens = self.attentionpool2D(features[self.block]).expand(len(x), -1, -1)
        for block in self.transformer_blocks:
            tokens = block(tokens, context, feature_tokens)
        return self.to_map(tokens, x)


def mask_decoder() -> nn.Sequential:
    """From a map at latent size to logits at picture size: ``(B, 1, h, w)`` to ``(B, 1, 8h, 8w)``.

    Three doublings of a single channel, with a 3x3 convolution before, between and after. It
    starts as a plain enlargement: PyTorch's own initial weights would weaken the gradient on its
    way back ten-thousandfold (deviation 1e-4 of what comes in, over ten seeds).
    """
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv2d(1, 1, 3, padding=1), nn.SiLU()]
        layers += [nn.ConvTranspose2d(1, 1, 2, stride=2), nn.SiLU()]
    decoder = nn.Sequential(*layers, nn.Conv2d(1, 1, 3, padding=1))
    _start_as_enlargement(decoder)
    return decoder


def _start_as_enlargement(decoder: nn.Sequential, offset: float = 4.0) -> None:
    """Make every layer pass its input on, lifted to where SiLU is close to a straight line.

    Args:
        decoder: From `mask_decoder`.
        offset: The lift, put on by the first layer and taken off by the last.
    """
    lift = offset
    for layer in decoder:
        if isinstance(layer, nn.SiLU):
            lift /= 1 + math.exp(-lift)
        elif isinstance(layer, nn.ConvTranspose2d):
            nn.init.ones_(layer.weight)
        elif isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
    for name, parameter in decoder.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    nn.init.constant_(decoder[0].get_parameter("bias"), offset)
    nn.init.constant_(decoder[-1].get_parameter("bias"), -lift)


def _pointwise(convolution: nn.Conv1d, tokens: Tensor) -> Tensor:
    """A 1x1 convolution over tokens that lie ``(B, N, C)``, without turning them round."""
    return F.linear(tokens, convolution.weight[:, :, 0], convolution.bias)
