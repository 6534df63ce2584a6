"""What a head is: everything that builds it, feeds it and reads it, as one frozen value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import nn

from ..errors import InputError
from ..frames import STRIDE, padded_side
from ..taps import BLOCKS, Taps, find_taps
from ..unet import UNetConfig

Reads: TypeAlias = Literal["nothing", "features", "attention"]
Kind: TypeAlias = Literal["ldznet", "compact"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """The description of a head, saved beside its weights."""

    family: str
    """The LDM whose latents, text and features it understands: "sd1", "miniature", ..."""
    unet: UNetConfig
    """Sizes of the LDM's UNet; for "ldznet" those of its own, which has a single output channel."""
    kind: Kind = "ldznet"
    """"ldznet", the paper's, or "compact", ours."""
    widths: tuple[int, ...] = ()
    """Of "compact": channels on the grid of the latents, and on two of half the sides each."""
    taps: tuple[int, ...] = BLOCKS
    """Numbers of the blocks whose features it reads; none makes it the paper's plain ZNet."""
    image_side: int = 384
    """Side in pixels of the square pictures it was trained on."""
    timestep: float = 400.0
    """Where on the noise schedule a probe takes the features, 0 to 999."""
    probes_once: bool = False
    """Whether a probe shows it a picture under no text, once for all phrases, or under each."""
    template: str = "{}"
    """What a phrase is put into before it is encoded."""
    mask_threshold: float = 0.5
    """Probability above which a pixel belongs to the mask, calibrated on held-out scenes."""
    presence_threshold: float = 0.5
    """Score from which a thing counts as found, calibrated on held-out scenes."""
    positional_tables: Literal["shape", "count"] = "shape"
    """When a tap's positional table is used as it is: on a map of its shape, or on any with as many
    positions. The authors' code counts, and so puts a 12x12 table unresampled on a 6x24 map."""
    training: str = ""
    """Where the weights come from, in words: data, steps, seeds, commit."""

    def __post_init__(self) -> None:
        """Refuse values from which no head can be built.

        Raises:
            InputError: One of them is out of its range.
        """
        unknown = sorted(set(self.taps) - set(block_sizes(self.unet)))
        _require(self.kind in ("ldznet", "compact"), "kind ldznet or compact", repr(self.kind))
        if self.kind == "ldznet":
            _require(self.unet.out_channels == 1, "one output channel", str(self.unet.out_channels))
            _require(not self.widths, "no widths of kind ldznet", str(self.widths))
        else:
            fits = len(self.widths) == 3 and all(w and w % 32 == 0 for w in self.widths)
            _require(fits, "three widths in multiples of 32", str(self.widths))
        _require(not unknown, f"taps from 1 to {len(block_sizes(self.unet))}", str(unknown))
        _require(self.image_side >= STRIDE, f"an image side >= {STRIDE}", str(self.image_side))
        _require(self.timestep in range(1000), "a whole timestep to 999", str(self.timestep))
        _require(self.template.count("{}") == 1, "one {} in the template", repr(self.template))
        how = self.positional_tables
        _require(how in ("shape", "count"), "positional tables by shape or count", repr(how))
        _require(type(self.probes_once) is bool, "a yes or no", repr(self.probes_once))
        for threshold in (self.mask_threshold, self.presence_threshold):
            _require(0 < threshold < 1, "thresholds between 0 and 1", str(threshold))

    @property
    def in_channels(self) -> int:
        """Channels of the latents that it reads."""
        return self.unet.in_channels

    @property
    def reads(self) -> Reads:
        """What it wants to know of a pass of the LDM, besides the latents."""
        return "features" if self.taps else "nothing"

    def taps_of(self, unet: nn.Module) -> Taps:
        """Where in a UNet it wants to listen; nowhere, if it reads no features."""
        return find_taps(unet, self.taps) if self.taps else {}

    @property
    def pool_sides(self) -> dict[int, int]:
        """Side of each tap's positional table: that of its feature map in training."""
        latent_side = padded_side(math.ceil(self.image_side / STRIDE), self.unet.stride)
        sizes = block_sizes(self.unet)
        return {block: latent_side // sizes[block].downscale for block in self.taps}


@dataclass(frozen=True, slots=True)
class BlockSize:
    """The feature map that comes out of a block."""

    channels: int
    downscale: int
    """Latents to a position, along each side."""


def block_sizes(unet: UNetConfig) -> dict[int, BlockSize]:
    """Size of every spatial transformer's output, by the paper's block number."""
    carrying = range(unet.transformer_levels)
    lowest = len(unet.channel_mult) - 1
    down = [level for level in carrying for _ in range(unet.num_res_blocks)]
    up = [level for level in reversed(carrying) for _ in range(unet.num_res_blocks + 1)]
    return {
        block: BlockSize(unet.model_channels * unet.channel_mult[level], 2**level)
        for block, level in enumerate([*down, lowest, *up], start=1)
    }


def activation_bytes(
    config: HeadConfig, phrases: int, latent_size: tuple[int, int], bytes_per_value: int
) -> int:
    """About the memory that a pass needs besides the weights, for hosts that make room for it.

    Some values for each channel of the finest level and each latent: 53 of the paper's head were
    alive at the peak of one phrase at the size of SD 1.x with 64x64 latents, and 31 of ours.

    Args:
        config: Of the head.
        phrases: Rows of the pass.
        latent_size: (h, w) of the latents.
        bytes_per_value: Of the dtype that the head computes in.
    """
    height, width = (padded_side(side, config.unet.stride) for side in latent_size)
    is_compact = config.kind == "compact"
    values = 36 * config.widths[0] if is_compact else 64 * config.unet.model_channels
    return values * phrases * height * width * bytes_per_value


def _require(holds: bool, expected: str, got: str) -> None:
    if not holds:
        raise InputError(f"a head's configuration expects {expected}, got {got}: correct it")
