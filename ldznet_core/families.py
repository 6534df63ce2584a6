"""Families of models, whose UNets are of one make: a head is for one of them."""

from __future__ import annotations

from torch import nn

from .errors import UnsupportedModelError

SDXL = "sdxl"

_FAMILIES = {(16, 768): "sd1", (16, 128): "miniature", (16, 1024): "sd2", (11, 2048): SDXL}


def known_family(transformers: int, width: int | None) -> str | None:
    """The family of a UNet, or None if we know none.

    Args:
        transformers: How many spatial transformers it has.
        width: Of the text features that it reads.
    """
    return None if width is None else _FAMILIES.get((transformers, width))


def check_text_alone(unet: nn.Module, family: str) -> None:
    """Make sure that a UNet in LDM's layout is told of pictures by text, and by nothing else.

    Raises:
        UnsupportedModelError: It wants more, as unCLIP and Lotus do.
    """
    if family != SDXL and getattr(unet, "label_emb", None) is not None:
        raise UnsupportedModelError(
            "expected a checkpoint that is told of a picture by text alone, got one that wants a "
            "picture too, such as unCLIP: choose another"
        )
