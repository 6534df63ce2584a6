"""Which heads understand a UNet: told by the width of the text features that it reads."""

from __future__ import annotations

from typing import Any

from torch import nn

from ldznet_core import UnsupportedModelError
from ldznet_core.taps import find_transformers

FAMILIES = {768: "sd1", 128: "miniature"}

_NOT_YET = {1024: "SD 2.x", 2048: "SDXL"}
"""Whose text encoders no host's adapter reads, by the width of what they give."""

_LAYOUTS = ((6, 1, 9), (4, 1, 6))
"""Spatial transformers going down, in the middle and coming up: of SD 1.x and 2.x, and of SDXL."""


def family_of(unet: nn.Module) -> str:
    """The family of a UNet.

    Raises:
        UnsupportedModelError: It is of another layout than SD 1.x's, or reads other text features.
    """
    width = context_width(unet)
    if width in FAMILIES:
        return FAMILIES[width]
    if width in _NOT_YET:
        raise UnsupportedModelError(
            f"expected a checkpoint of SD 1.x, got one of {_NOT_YET[width]}, whose text cannot be "
            "read in the WebUI yet: choose another"
        )
    raise UnsupportedModelError(
        "expected a checkpoint of SD 1.x, whose text features are 768 wide, got one for "
        f"{width}: choose another"
    )


def context_width(unet: nn.Module) -> int:
    """How wide the text features are that a UNet reads.

    Raises:
        UnsupportedModelError: It is of another layout than those of SD 1.x, 2.x and SDXL.
    """
    first: Any = find_transformers(unet, _LAYOUTS)[0].module
    return int(first.transformer_blocks[0].attn2.to_k.in_features)
