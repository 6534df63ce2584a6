"""Families of models, whose UNets are of one make: a head is for one of them."""

from __future__ import annotations

SDXL = "sdxl"

_FAMILIES = {(16, 768): "sd1", (16, 128): "miniature", (16, 1024): "sd2", (11, 2048): SDXL}


def known_family(transformers: int, width: int | None) -> str | None:
    """The family of a UNet, or None if we know none.

    Args:
        transformers: How many spatial transformers it has.
        width: Of the text features that it reads.
    """
    return None if width is None else _FAMILIES.get((transformers, width))
