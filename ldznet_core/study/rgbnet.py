"""RGBNet, the paper's baseline: the same UNet, but it reads the picture and not its latents."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from ..capture import Features
from ..frames import STRIDE
from ..head import HeadConfig, LDZNetHead
from ..head.inputs import check_latents

CHANNELS = 3 * STRIDE**2
"""Of a picture that lies folded on the grid of the latents."""

_FIRST = "input_blocks.0."  # its shape is another's: it read four channels of latents
_WIDTHS = (24, 48)


def fold(pictures: Tensor) -> Tensor:
    """Pictures in the place of latents, no value changed.

    Args:
        pictures: ``(B, 3, 8h, 8w)`` RGB in [-1, 1].

    Returns:
        ``(B, CHANNELS, h, w)``: the pixels of each 8x8 square on top of each other.
    """
    return F.pixel_unshuffle(pictures, STRIDE)


class RGBNet(LDZNetHead):
    """A head whose latents are a folded picture (`fold`), read by convolutions of its own.

    They halve the sides three times, and so end on the grid where the UNet expects latents. It has
    no taps.
    """

    def __init__(self, config: HeadConfig) -> None:
        """Build with fresh weights.

        Args:
            config: As of a ZNet, with `CHANNELS` in the place of the latents' channels.
        """
        super().__init__(config)
        first, second = _WIDTHS
        self.stem = nn.Sequential(
            nn.PixelShuffle(STRIDE),
            nn.Conv2d(3, first, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(second, CHANNELS, 3, stride=2, padding=1),
        )

    @classmethod
    def from_unet(cls, state_dict: Mapping[str, Tensor], config: HeadConfig) -> LDZNetHead:
        """A head to be trained; all of it but its eyes starts from the LDM's own UNet."""
        known = {name: each for name, each in state_dict.items() if not name.startswith(_FIRST)}
        return super().from_unet({**cls(config).state_dict(), **known}, config)

    def forward(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits for each phrase, ``(P, 1, 8h, 8w)``.

        Args:
            latents: ``(P, CHANNELS, h, w)`` folded pictures, or one row for all phrases.
            context: ``(P, T, D)`` text features of the phrases.
            features: Unread.

        Raises:
            InputError: A shape does not fit.
        """
        check_latents(self.config, latents, len(context))
        return super().forward(self.stem(latents.to(self._weight)), context)
