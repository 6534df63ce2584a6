"""Attention over tokens, and the spatial transformer that applies it to a feature map."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import GroupNorm32, zero_init


class CrossAttention(nn.Module):
    """Multi-head attention from tokens to a context, or to the tokens themselves."""

    def __init__(self, channels: int, context_channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_channels, channels, bias=False)
        self.to_v = nn.Linear(context_channels, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Tokens that have looked at the context.

        Args:
            x: ``(B, N, C)`` tokens that ask.
            context: ``(B, T, D)`` tokens that answer; None means ``x`` itself.
        """
        context = x if context is None else context
        query = self._split_heads(self.to_q(x))
        key = self._split_heads(self.to_k(context))
        value = self._split_heads(self.to_v(context))
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return out

    def _split_heads(self, x: Tensor) -> Tensor:
        batch, count, _ = x.shape
        return x.view(batch, count, self.heads, -1).transpose(1, 2)  # (B, heads, N, C / heads)


class GEGLU(nn.Module):
    """A linear layer whose second half gates its first through the exact GELU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, 2 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, C_in)`` to ``(B, N, C_out)``."""
        values, gate = self.proj(x).chunk(2, dim=-1)
        gated: Tensor = values * F.gelu(gate)
        return gated


class FeedForward(nn.Module):
    """The gated two-layer perceptron of a transformer block, four times as wide inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GEGLU(channels, 4 * channels),
            nn.Identity(),  # the place of LDM's dropout: keeps the last layer at index 2
            nn.Linear(4 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, C)`` to ``(B, N, C)``."""
        out: Tensor = self.net(x)
        return out


class TransformerBlock(nn.Module):
    """Self-attention, attention to the text, and a perceptron, each beside a skip."""

    def __init__(self, channels: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, heads)
        self.ff = FeedForward(channels)
        self.attn2 = CrossAttention(channels, context_dim, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """``(B, N, C)`` tokens that have read the ``(B, T, D)`` context."""
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), context) + x
        out: Tensor = self.ff(self.norm3(x)) + x
        return out


class SpatialTransformer(nn.Module):
    """A transformer block over the positions of a feature map, beside a skip.

    A subclass may replace ``transformer_blocks`` and `forward` to read the LDM's features.
    """

    def __init__(self, channels: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.norm = GroupNorm32(channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, context_dim, heads)])
        self.proj_out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(
        self, x: Tensor, context: Tensor, features: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """The feature map after it has read the text.

        Args:
            x: ``(B, C, h, w)``.
            context: ``(B, T, D)`` text features.
            features: The LDM's features by block number; unread here, for subclasses.
        """
        tokens = self.to_tokens(x)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return self.to_map(tokens, x)

    def to_tokens(self, x: Tensor) -> Tensor:
        """Normalised and projected tokens: ``(B, C, h, w)`` to ``(B, hw, C)``."""
        projected: Tensor = self.proj_in(self.norm(x))
        return projected.flatten(2).transpose(1, 2)

    def to_map(self, tokens: Tensor, x: Tensor) -> Tensor:
        """Tokens ``(B, hw, C)`` projected back to a map and added to ``x``, ``(B, C, h, w)``."""
        projected: Tensor = self.proj_out(tokens.transpose(1, 2).reshape(x.shape))
        return x + projected  # in this order the sum keeps the layout of x: 4 % of a CPU step
