"""The paper's head: a UNet that reads clean latents, a phrase, and the features of the LDM."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..capture import Features, blocks_of
from ..errors import CheckpointError, InputError
from ..frames import STRIDE, pad_to, pad_to_multiple
from ..taps import Taps
from ..unet import SpatialTransformer, UNet, UNetConfig
from .config import HeadConfig
from .inputs import check_context, check_feature, check_latents
from .ldznet_layers import AttentionPool, FeatureTransformer, mask_decoder

FRESH_PARTS = ("attentionpool2D.", "attn3.", "norm_sd.", "final.")
"""Parts of a weight's name that tell it from those that the LDM's UNet has too."""


class LDZNetHead(nn.Module):
    """LD-ZNet, and without taps the paper's ZNet (arXiv 2303.12343, section 3).

    The weights bear the official network's names (``input_blocks.0.0.weight``, ...).
    """

    _unet: UNet

    def __init__(self, config: HeadConfig) -> None:
        """Build with fresh weights, which say nothing: logits need training."""
        super().__init__()
        self.config = config
        unet = UNet(config.unet, self._make_transformer)
        self.time_embed = unet.time_embed
        self.input_blocks = unet.input_blocks
        self.middle_block = unet.middle_block
        self.output_blocks = unet.output_blocks
        self.out = unet.out
        self.final = mask_decoder()
        # The UNet runs these parts, but is kept out of the list of submodules: there it would put
        # its own name before the official names of the weights.
        object.__setattr__(self, "_unet", unet)

    @classmethod
    def from_unet(cls, state_dict: Mapping[str, Tensor], config: HeadConfig) -> LDZNetHead:
        """A head to be trained, started from the LDM's own UNet as the paper does.

        The last convolution keeps its first output channel; pools, third attentions and decoder
        start from PyTorch's random numbers, so seed them. Nothing of them is zero: only in a UNet
        without trained weights are the ends of its branches (``proj_out``, ``out.2``) silent.

        Args:
            state_dict: The UNet's entries in LDM key names without a prefix.
            config: The head's description; its ``unet`` has the sizes of this UNet.

        Raises:
            CheckpointError: The weights do not fit the configuration.
        """
        head = cls(config)
        state = head.state_dict()
        for name, fresh in state.items():
            if any(part in name for part in FRESH_PARTS):
                continue
            given = state_dict.get(name)
            if given is not None and name.startswith("out.2."):
                given = given[:1]
            if given is None or given.shape != fresh.shape:
                got = "none" if given is None else str(tuple(given.shape))
                raise CheckpointError(
                    f"expected {name} of shape {tuple(fresh.shape)} in the UNet's weights, got "
                    f"{got}: configure the head with the sizes of this UNet"
                )
            state[name] = given
        head.load_state_dict(state)
        return head

    def recompute(self, *, is_on: bool = True) -> None:
        """Train in less memory and more time: see `unet.recomputed`."""
        self._unet.recomputes = is_on

    def taps_of(self, unet: nn.Module) -> Taps:
        """Where in a UNet it wants to listen; nowhere, if it reads no features."""
        return self.config.taps_of(unet)

    def forward(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits for each phrase, ``(P, 1, 8h, 8w)``; above 0 the thing is likelier than not.

        Inputs follow the head to its device and dtype. Latents of any size will do: they grow at
        the bottom and the right to multiples of 8, as do features that were captured on the
        smaller frame, and the logits are cut back.

        Args:
            latents: ``(P, 4, h, w)``, or one row for all phrases; clean, scaled as for the LDM.
            context: ``(P, T, D)`` text features of the phrases.
            features: The LDM's by block number, ``(P, C, ~h/4, ~w/4)`` (``~h/8`` for block 7) or
                one row for all phrases. Unread by a head without taps.

        Raises:
            InputError: A shape does not fit the head, or a tap's features are missing.
        """
        check_context(self.config, context)
        check_latents(self.config, latents, len(context))
        weight = self._weight
        height, width = latents.shape[-2:]
        padded = pad_to_multiple(latents.to(weight), self.config.unet.stride)
        tapped = self._tapped(features, len(context), (height, width))
        hidden = self._unet(
            padded.expand(len(context), -1, -1, -1),
            torch.zeros(1, device=weight.device),  # the latents are clean
            context.to(weight),
            tapped,
        )
        logits: Tensor = self.final(F.silu(hidden))
        return logits[..., : STRIDE * height, : STRIDE * width]

    @property
    def _weight(self) -> Tensor:
        """A weight, for the device and the dtype of all."""
        return next(self.out.parameters())

    def _make_transformer(self, block: int, channels: int, unet: UNetConfig) -> SpatialTransformer:
        if block in self.config.taps:
            side, by_count = self.config.pool_sides[block], self.config.positional_tables == "count"
            pool = AttentionPool(channels, unet.num_heads, side, by_count=by_count)
            return FeatureTransformer(block, channels, pool, unet)
        return SpatialTransformer(channels, unet.context_dim, unet.num_heads)

    def _tapped(
        self,
        features: Features | Mapping[int, Tensor] | None,
        phrases: int,
        latent_size: tuple[int, int],
    ) -> dict[int, Tensor]:
        """The features that this head reads, checked, and grown to the frame of padded latents."""
        given = blocks_of(features)
        missing = [block for block in self.config.taps if block not in given]
        if missing:
            raise InputError(
                f"expected features of blocks {list(self.config.taps)}, got {sorted(given)}: "
                f"capture block {missing[0]} too"
            )
        return {
            block: self._framed(block, given[block], phrases, latent_size)
            for block in self.config.taps
        }

    def _framed(
        self, block: int, feature: Tensor, phrases: int, latent_size: tuple[int, int]
    ) -> Tensor:
        frame = check_feature(self.config, block, feature, latent_size, rows=(1, phrases))
        return pad_to(feature.to(self._weight), *frame)
