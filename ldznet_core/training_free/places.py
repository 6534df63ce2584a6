"""The layers of a UNet whose outputs are its attention's queries and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError
from ..taps import SD_LAYOUT, SDXL_LAYOUT, Tap, Taps, find_transformers
from .layers import Layers

Part: TypeAlias = Literal["links.query", "links.key", "words.query"]

_MODULES: dict[Part, str] = {
    "links.query": "attn1.to_q",
    "links.key": "attn1.to_k",
    "words.query": "attn2.to_q",
}
"""Where they are in a transformer, under every host; in the order in which a pass reaches them."""


class Place(NamedTuple):
    """One thing that is read of a pass; what it gives is ``(B, N, C)``, a row for each position."""

    block: int
    part: Part

    def __str__(self) -> str:
        """What errors call it."""
        return f"{self.part} of block {self.block}"


def kept_on_cpu(key: object, rows: Tensor) -> Tensor:
    """A copy of what was captured, to be read later; attention in half precision at most.

    Queries and keys are only compared, so that nothing is lost: SDXL's at 1024 pixels take 34 MB.

    Args:
        key: Under which it was captured; a `Place` is of attention.
        rows: On any device.
    """
    is_wide = isinstance(key, Place) and rows.dtype == torch.float32
    return rows.to("cpu", torch.float16 if is_wide else rows.dtype, copy=True)


def find_places(unet: nn.Module, layers: Layers) -> Taps:
    """The places of a UNet, in the order in which a pass reaches them.

    Args:
        unet: Of LDM layout, or of diffusers.
        layers: Of its family.

    Raises:
        UnsupportedModelError: It is of another layout.
    """
    transformers = find_transformers(unet, (SD_LAYOUT, SDXL_LAYOUT))
    places: dict[Place, Tap] = {}
    for place in places_of(layers):
        name = f"{_transformer_name(transformers, place.block, layers)}.{_MODULES[place.part]}"
        downscale = transformers[place.block - 1].downscale
        places[place] = Tap(name, unet.get_submodule(name), axes=3, downscale=downscale)
    return places


def places_of(layers: Layers) -> list[Place]:
    """The places that layers name, in the order in which a pass reaches them."""
    return [
        Place(block, part)
        for block in sorted({*layers.asking, *layers.links})
        for part in _MODULES
        if block in (layers.asking if part == "words.query" else layers.links)
    ]


def attention_of(unet: nn.Module, place: Place, layers: Layers) -> nn.Module:
    """The attention layer that a place belongs to, which knows its heads and its keys."""
    layer = _MODULES[place.part].split(".")[0]
    transformers = find_transformers(unet, (SD_LAYOUT, SDXL_LAYOUT))
    return unet.get_submodule(f"{_transformer_name(transformers, place.block, layers)}.{layer}")


def _transformer_name(taps: Sequence[Tap], block: int, layers: Layers) -> str:
    if block > len(taps):
        raise UnsupportedModelError(
            f"expected a UNet with {block} spatial transformers, got {len(taps)}: choose the "
            "layers of its own family"
        )
    tap = taps[block - 1]
    depth = len(tap.module.get_submodule("transformer_blocks"))  # type: ignore[arg-type]
    if layers.depth >= depth:
        raise UnsupportedModelError(
            f"expected {layers.depth + 1} transformers in {tap.name}, got {depth}: choose the "
            "layers of its own family"
        )
    return f"{tap.name}.transformer_blocks.{layers.depth}"
