"""Where a UNet is tapped: its 16 spatial transformers, by the paper's block numbers.

SD 1.x has 6 of them going down, 1 in the middle and 9 coming up; a tap's value is the feature map
right after the transformer, before any up- or downsampling (arXiv 2303.12343, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import nn

from .checks import is_whole
from .errors import InputError, UnsupportedModelError

BLOCKS = (6, 7, 8, 9, 10)
"""The blocks whose features LD-ZNet reads."""

SD_LAYOUT, SDXL_LAYOUT = (6, 1, 9), (4, 1, 6)
"""Spatial transformers going down, in the middle, coming up: of SD 1.x and 2.x, and of SDXL."""


_DOWNSCALES: Mapping[tuple[int, ...], tuple[int, ...]] = {
    SD_LAYOUT: (1, 1, 2, 2, 4, 4, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1),
    SDXL_LAYOUT: (2, 2, 4, 4, 4, 4, 4, 4, 2, 2, 2),
}
"""Latents to a position of each transformer, along each side, in the order of a pass."""


class Tap(NamedTuple):
    """One place in a UNet."""

    name: str
    """Its dotted name, such as ``middle_block.1``."""
    module: nn.Module
    axes: int = 4
    """Of what it gives: 4 of a feature map ``(B, C, h, w)``, 3 of tokens ``(B, N, C)``."""
    downscale: int = 1
    """Latents to a position of that, along each side."""


Taps: TypeAlias = Mapping[Any, Tap]
"""Taps by block number, or what else tells them apart, in the order of a pass."""

TapsOf: TypeAlias = Callable[[nn.Module], Taps]
"""Finds the taps of a UNet."""


def find_taps(unet: nn.Module, blocks: Sequence[int] = BLOCKS) -> Taps:
    """The spatial transformers of a UNet, by block number.

    UNets of the LDM layout (ComfyUI, A1111, Forge, CompVis, our own) and of diffusers are told by
    their structure, whatever their class.

    Args:
        unet: The UNet itself, such as ``pipeline.unet`` or ``model.diffusion_model``.
        blocks: The block numbers wanted, 1 to 16.

    Raises:
        UnsupportedModelError: It is no UNet with the layout of SD 1.x.
        InputError: A block number is not from 1 to 16, or none is given.
    """
    transformers = find_transformers(unet)
    numbers = range(1, len(transformers) + 1)
    given: Any = blocks  # a caller without types may give one
    wanted = list(given) if isinstance(given, Iterable) else [given]
    if not wanted or not all(is_whole(block) and block in numbers for block in wanted):
        raise InputError(
            f"expected a list of block numbers from 1 to {len(transformers)}, got {blocks}: the "
            "head's own are in head.config.taps"
        )
    return {block: transformers[block - 1] for block in sorted({int(each) for each in wanted})}


def find_transformers(
    unet: nn.Module, layouts: Sequence[tuple[int, int, int]] = (SD_LAYOUT,)
) -> list[Tap]:
    """Every spatial transformer of a UNet, in the order of a pass.

    Args:
        unet: Of LDM layout, or of diffusers.
        layouts: How many it may have going down, in the middle and coming up.

    Raises:
        UnsupportedModelError: It has others, or none.
    """
    if _has(unet, "input_blocks", "middle_block", "output_blocks"):
        down = _numbered(unet, "input_blocks")
        middle = [("middle_block", unet.get_submodule("middle_block"))]
        up = _numbered(unet, "output_blocks")
    elif _has(unet, "down_blocks", "mid_block", "up_blocks"):
        down = _attentions(_numbered(unet, "down_blocks"))
        middle = _attentions([("mid_block", unet.get_submodule("mid_block"))])
        up = _attentions(_numbered(unet, "up_blocks"))
    else:
        raise _unsupported(layouts, type(unet).__name__, has_no_unet=_is_transformer(unet))
    parts = [_transformers_in(places) for places in (down, middle, up)]
    if any(_spans_frames(tap.module) for taps in parts for tap in taps):
        raise _unsupported(layouts, f"{type(unet).__name__} for video")
    counts = tuple(len(taps) for taps in parts)
    if counts not in layouts:
        likeness = ", as in SDXL" if counts == SDXL_LAYOUT else ""
        raise _unsupported(layouts, f"{type(unet).__name__} with {_sum(counts)}{likeness}")
    found = [tap for taps in parts for tap in taps]
    return [
        tap._replace(downscale=downscale)
        for tap, downscale in zip(found, _DOWNSCALES[counts], strict=True)
    ]


_Places: TypeAlias = list[tuple[str, nn.Module]]


def _has(unet: object, *parts: str) -> bool:
    return all(isinstance(getattr(unet, part, None), nn.Module) for part in parts)


def _numbered(unet: nn.Module, part: str) -> _Places:
    """The stages of a part, each with its dotted name."""
    return [(f"{part}.{name}", stage) for name, stage in unet.get_submodule(part).named_children()]


def _attentions(stages: _Places) -> _Places:
    """Where diffusers keeps the transformers of each stage that has any."""
    lists = [(f"{name}.attentions", getattr(stage, "attentions", None)) for name, stage in stages]
    return [(name, found) for name, found in lists if isinstance(found, nn.Module)]


def _transformers_in(places: _Places) -> list[Tap]:
    return [
        Tap(f"{name}.{child_name}", child)
        for name, place in places
        for child_name, child in place.named_children()
        if hasattr(child, "transformer_blocks")
    ]


def _spans_frames(transformer: nn.Module) -> bool:
    """Whether a transformer mixes the frames of a video, as Stable Video Diffusion's do."""
    return hasattr(transformer, "time_stack") or hasattr(transformer, "temporal_transformer_blocks")


def _is_transformer(model: object) -> bool:
    """Whether it is a transformer as a whole, as SD3's and Flux's are under every host."""
    return any(
        _has(model, part) for part in ("joint_blocks", "double_blocks", "transformer_blocks")
    )


def _unsupported(
    layouts: Sequence[tuple[int, int, int]], what_came: str, *, has_no_unet: bool = False
) -> UnsupportedModelError:
    families = "SD 1.x" if list(layouts) == [SD_LAYOUT] else "SD 1.x, SD 2.x or SDXL"
    advice = f"choose a model of {families}, and of it the UNet"
    if has_no_unet:
        advice = f"models without a UNet, such as SD3 and Flux, cannot be read yet, so {advice}"
    return UnsupportedModelError(
        f"expected the UNet of an {families} model, with {' or '.join(map(_sum, layouts))} spatial "
        f"transformers (down, middle, up), got {what_came}: {advice}"
    )


def _sum(counts: Sequence[int]) -> str:
    return " + ".join(map(str, counts))
