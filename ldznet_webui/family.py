"""Which heads understand a UNet: told by the width of the text features that it reads."""

from __future__ import annotations

from typing import Any

from torch import nn

from ldznet_core import UnsupportedModelError, find_taps

FAMILIES = {768: "sd1", 1024: "sd2", 128: "miniature"}


def family_of(unet: nn.Module) -> str:
    """The family of a UNet.

    Raises:
        UnsupportedModelError: It is of another layout than SD 1.x's, or reads other text features.
    """
    width = context_width(unet)
    if width not in FAMILIES:
        raise UnsupportedModelError(
            "expected a checkpoint of SD 1.x, whose text features are 768 wide, got one for "
            f"{width}: choose another"
        )
    return FAMILIES[width]


def context_width(unet: nn.Module) -> int:
    """How wide the text features are that a UNet of SD 1.x's layout reads.

    Raises:
        UnsupportedModelError: It is of another layout.
    """
    middle: Any = find_taps(unet)[7].module
    return int(middle.transformer_blocks[0].attn2.to_k.in_features)
