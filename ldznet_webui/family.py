"""The family of a UNet: told by its layout, and by the width of the text features that it reads."""

from __future__ import annotations

from typing import Any

from torch import nn

from ldznet_core import UnsupportedModelError
from ldznet_core.families import check_text_alone, known_family
from ldznet_core.taps import SD_LAYOUT, SDXL_LAYOUT, find_transformers

_REFINER = (11, 1280)
"""SDXL's: the number of its transformers, and the width of the text features that it reads."""


def family_of(unet: nn.Module) -> str:
    """The family of a UNet.

    Raises:
        UnsupportedModelError: It is of another layout, reads other text features, or is told more
            than text.
    """
    transformers = find_transformers(unet, (SD_LAYOUT, SDXL_LAYOUT))
    first: Any = transformers[0].module
    width = int(first.transformer_blocks[0].attn2.to_k.in_features)
    kind = (len(transformers), width)
    if kind == _REFINER:
        raise UnsupportedModelError(
            "expected a checkpoint of SD 1.x, SD 2.x or SDXL, got SDXL's refiner, whose attention "
            "is not read: leave the refiner out, or choose the checkpoint that it refines"
        )
    family = known_family(*kind)
    if family is None:
        raise UnsupportedModelError(
            "expected a checkpoint of SD 1.x, SD 2.x or SDXL, whose text features are 768, 1024 or "
            f"2048 wide, got one for {width}: choose another"
        )
    check_text_alone(unet, family)
    return family
