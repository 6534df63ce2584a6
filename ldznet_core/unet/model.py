"""The UNet itself: stages going down, a middle, stages coming up with skips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

import torch
from torch import Tensor, nn

from ..errors import InputError
from .attention import SpatialTransformer
from .config import UNetConfig
from .layers import Downsample, GroupNorm32, ResBlock, Upsample, timestep_embedding, zero_init
from .recomputation import recomputed

MakeTransformer = Callable[[int, int, UNetConfig], SpatialTransformer]


class Stage(nn.Sequential):
    """Layers in a row, each given what its kind reads beside the feature map."""

    def forward(  # type: ignore[override]  # a Sequential of layers with side inputs
        self,
        x: Tensor,
        embedding: Tensor,
        context: Tensor,
        features: Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """``(B, C, h, w)`` through every layer; the other arguments as in `UNet.forward`."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, embedding)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context, features)
            else:
                x = layer(x)
        return x


def plain_transformer(block: int, channels: int, config: UNetConfig) -> SpatialTransformer:
    """The spatial transformer of Stable Diffusion, the same in every block."""
    return SpatialTransformer(channels, config.context_dim, config.num_heads)


class UNet(nn.Module):
    """The denoising UNet of Stable Diffusion 1.x, with LDM's names for its weights."""

    recomputes = False
    """Whether training keeps no more of a stage than its input (`recomputation.recomputed`)."""

    def __init__(
        self, config: UNetConfig, make_transformer: MakeTransformer = plain_transformer
    ) -> None:
        """Build the network with fresh weights.

        Args:
            config: Its sizes.
            make_transformer: Gives the spatial transformer of a block, from the block's number
                (the paper's, 1 to 16), its channels and the sizes.
        """
        super().__init__()
        self.config = config
        width = config.model_channels
        make = _LayerMaker(config, make_transformer)
        self.time_embed = nn.Sequential(
            nn.Linear(width, make.embedding_channels),
            nn.SiLU(),
            nn.Linear(make.embedding_channels, make.embedding_channels),
        )
        self.input_blocks, skips = _input_blocks(config, make)
        top, widest = config.channel_mult[0] * width, skips[-1]
        self.middle_block = Stage(
            make.res_block(widest, widest),
            make.transformer(widest),
            make.res_block(widest, widest),
        )
        self.output_blocks = _output_blocks(config, make, skips)
        self.out = nn.Sequential(
            GroupNorm32(top),
            nn.SiLU(),
            zero_init(nn.Conv2d(top, config.out_channels, 3, padding=1)),
        )

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        features: Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """The prediction for noisy latents, ``(B, C_out, h, w)``.

        Args:
            x: ``(B, C_in, h, w)`` latents; h and w are multiples of ``config.stride``.
            timesteps: ``(B,)`` or ``(1,)``, 0 to 999.
            context: ``(B, T, D)`` text features.
            features: The LDM's features by block number, for transformers that read them.

        Raises:
            InputError: A side is no multiple of the stride.
        """
        self._check_sides(x)
        embedding = self.time_embed(
            timestep_embedding(timesteps.to(x.device), self.config.model_channels).to(x.dtype)
        )
        skips: list[Tensor] = []
        for stage in self.input_blocks:
            x = self._run(stage, x, embedding, context, features)
            skips.append(x)
        x = self._run(self.middle_block, x, embedding, context, features)
        for stage in self.output_blocks:
            joined = torch.cat([x, skips.pop()], dim=1)
            x = self._run(stage, joined, embedding, context, features)
        out: Tensor = self.out(x)
        return out

    def _run(self, stage: nn.Module, *inputs: object) -> Tensor:
        given: Tensor = recomputed(stage, *inputs) if self.recomputes else stage(*inputs)
        return given

    def _check_sides(self, x: Tensor) -> None:
        height, width = x.shape[-2:]
        stride = self.config.stride
        if height % stride or width % stride:
            raise InputError(
                f"the UNet expects latents with sides in multiples of {stride}, got "
                f"{height}x{width}: pad them first"
            )


class _LayerMaker:
    """Makes the layers of a UNet in the order of a pass, and numbers its transformers."""

    def __init__(self, config: UNetConfig, make_transformer: MakeTransformer) -> None:
        self.embedding_channels = 4 * config.model_channels
        self._config = config
        self._make_transformer = make_transformer
        self._blocks = count(1)

    def res_block(self, in_channels: int, out_channels: int) -> ResBlock:
        return ResBlock(in_channels, out_channels, self.embedding_channels)

    def transformer(self, channels: int) -> SpatialTransformer:
        return self._make_transformer(next(self._blocks), channels, self._config)

    def res_block_and_transformer(
        self, in_channels: int, out_channels: int, level: int
    ) -> list[nn.Module]:
        """A ResBlock, and a transformer where the level has them."""
        layers: list[nn.Module] = [self.res_block(in_channels, out_channels)]
        if level < self._config.transformer_levels:
            layers.append(self.transformer(out_channels))
        return layers


def _input_blocks(config: UNetConfig, make: _LayerMaker) -> tuple[nn.ModuleList, list[int]]:
    """The stages going down, and the channels that each hands over as a skip."""
    channels = config.model_channels
    stages, skips = [Stage(nn.Conv2d(config.in_channels, channels, 3, padding=1))], [channels]
    for level, multiple in enumerate(config.channel_mult):
        if level > 0:
            stages.append(Stage(Downsample(channels)))
            skips.append(channels)
        for _ in range(config.num_res_blocks):
            out_channels = multiple * config.model_channels
            stages.append(Stage(*make.res_block_and_transformer(channels, out_channels, level)))
            channels = out_channels
            skips.append(channels)
    return nn.ModuleList(stages), skips


def _output_blocks(config: UNetConfig, make: _LayerMaker, skips: list[int]) -> nn.ModuleList:
    """The stages coming up; each reads one skip, the last handed over first."""
    skips, channels = list(skips), skips[-1]
    stages = []
    for level, multiple in reversed(list(enumerate(config.channel_mult))):
        for index in range(config.num_res_blocks + 1):
            out_channels = multiple * config.model_channels
            in_channels = channels + skips.pop()
            layers = make.res_block_and_transformer(in_channels, out_channels, level)
            if level > 0 and index == config.num_res_blocks:
                layers.append(Upsample(out_channels))
            stages.append(Stage(*layers))
            channels = out_channels
    return nn.ModuleList(stages)
