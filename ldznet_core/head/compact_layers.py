"""What the compact head is built of: readers of features, of phrases and of the presence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..unet import CrossAttention, FeedForward

LAYERS_OF_DOUBLING = 3
"""Of `unfolding`, for each time that it doubles a map's sides."""

_HEAD_WIDTH = 32  # channels of an attention head
_PRIOR = -1.5  # the first mask logit everywhere: a thing covers about a fifth of its picture


class FeatureReader(nn.Module):
    """A block's features, normalised over their channels, in the width of a level."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, width)

    def forward(self, feature: Tensor) -> Tensor:
        """``(B, C, h, w)`` to ``(B, W, h, w)``."""
        read: Tensor = self.project(self.norm(feature.movedim(1, -1))).movedim(-1, 1)
        return read


class Residual(nn.Module):
    """Two 3x3 convolutions beside a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, W, h, w)`` to the same."""
        out: Tensor = x + self.layers(x)
        return out


class PhraseBlock(nn.Module):
    """Pixels look at the phrase, and, where the grid is coarse, at each other before."""

    def __init__(self, width: int, text_width: int, *, sees_others: bool) -> None:
        super().__init__()
        heads = width // _HEAD_WIDTH
        self.others = CrossAttention(width, width, heads) if sees_others else None
        self.phrase = CrossAttention(width, text_width, heads)
        self.think = FeedForward(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if sees_others else 2))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """``(P, W, h, w)`` with the phrases' ``(P, T, D)`` read into it."""
        pixels = x.flatten(2).transpose(1, 2)
        norms = iter(self.norms)
        if self.others is not None:
            pixels = pixels + self.others(next(norms)(pixels))
        pixels = pixels + self.phrase(next(norms)(pixels), tokens)
        pixels = pixels + self.think(next(norms)(pixels))
        read: Tensor = pixels.transpose(1, 2).reshape(x.shape)
        return read


class Presence(nn.Module):
    """Whether what a phrase names is anywhere in a picture."""

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        heads = text_width // _HEAD_WIDTH
        self.question = nn.Parameter(torch.zeros(1, 1, text_width))
        self.phrase = CrossAttention(text_width, text_width, heads)
        self.norm = nn.LayerNorm(width)
        self.pixels = CrossAttention(text_width, width, heads)
        self.verdict = nn.Sequential(
            nn.LayerNorm(2 * text_width),
            nn.Linear(2 * text_width, text_width),
            nn.SiLU(),
            nn.Linear(text_width, 1),
        )

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Logits ``(P,)`` from pixels ``(P, W, h, w)`` and phrases ``(P, T, D)``."""
        asked = self.phrase(self.question.expand(len(tokens), -1, -1), tokens)
        seen = self.pixels(asked, self.norm(x.flatten(2).transpose(1, 2)))
        verdict: Tensor = self.verdict(torch.cat([asked, seen], dim=2))
        return verdict[:, 0, 0]


def unfolding(width: int) -> nn.Sequential:
    """From a map at latent size to logits at picture size, ``(B, W, h, w)`` to ``(B, 1, 8h, 8w)``.

    Three doublings, each of which halves the width: every position becomes four.
    """
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv2d(width, 2 * width, 3, padding=1), nn.PixelShuffle(2), nn.SiLU()]
        width //= 2
    last = nn.Conv2d(width, 1, 3, padding=1)
    nn.init.constant_(last.get_parameter("bias"), _PRIOR)
    return nn.Sequential(*layers, last)
