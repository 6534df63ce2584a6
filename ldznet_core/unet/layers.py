"""The convolutional layers of the UNet, and the embedding of its timestep."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


class GroupNorm32(nn.GroupNorm):
    """Group norm in 32 groups; PyTorch's kernels keep the statistics of fp16 input in fp32."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(32, channels, eps=eps)


class ResBlock(nn.Module):
    """Two 3x3 convolutions, with the timestep added between them, beside a skip."""

    def __init__(self, in_channels: int, out_channels: int, embedding_channels: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            GroupNorm32(in_channels),
            nn.SiLU(),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding_channels, out_channels))
        self.out_layers = nn.Sequential(
            GroupNorm32(out_channels),
            nn.SiLU(),
            nn.Identity(),  # the place of LDM's dropout: keeps the convolution at index 3
            zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features of the next width.

        Args:
            x: ``(B, C_in, h, w)``.
            embedding: ``(B, E)`` or ``(1, E)`` embedded timesteps.
        """
        hidden = self.in_layers(x) + self.emb_layers(embedding)[:, :, None, None]
        out: Tensor = self.skip_connection(x) + self.out_layers(hidden)
        return out


class Downsample(nn.Module):
    """Halves the sides by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` to ``(B, C, h/2, w/2)``."""
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Doubles the sides by nearest neighbour, then convolves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` to ``(B, C, 2h, 2w)``."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


def timestep_embedding(timesteps: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoids of the timestep, cosines first: ``(B,)`` to fp32 ``(B, channels)``."""
    half = channels // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
    angles = timesteps[:, None].float() * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zero_init(module: Module) -> Module:
    """The module itself, its parameters set to zero, so that a new branch starts silent."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
