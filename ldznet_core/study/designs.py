"""The heads that are compared, and the tables that they make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

import torch

from ..head import AnyHead, CompactHead, HeadConfig, LDZNetHead
from ..miniature import Miniature
from ..training.heads import COMPACT_WIDTHS
from .concatenation import ConcatenationHead
from .rgbnet import CHANNELS, RGBNet

Kind: TypeAlias = Literal["ldznet", "concatenation", "rgbnet", "compact"]
TableName: TypeAlias = Literal["designs", "blocks"]


class Pace(NamedTuple):
    """Factors on the settings of a study."""

    steps: int
    learning_rate: float


FROM_UNET = Pace(1, 1.0)
"""Of heads that start from the weights of the miniature's UNet."""

FROM_NOTHING = Pace(2, 2.5)
"""Of heads without a second UNet: twice the steps take them no longer on two cores."""


@dataclass(frozen=True, slots=True)
class Design:
    """A kind of head and what it reads."""

    name: str
    title: str
    kind: Kind
    taps: tuple[int, ...] = ()

    @property
    def sees_pictures(self) -> bool:
        """Whether it reads folded pictures in the place of latents."""
        return self.kind == "rgbnet"

    @property
    def is_loadable(self) -> bool:
        """Whether `load_head` knows the kind; the others are built here alone."""
        return self.kind in ("ldznet", "compact")

    @property
    def pace(self) -> Pace:
        """How it is trained, against the study's settings."""
        return FROM_NOTHING if self.kind == "compact" else FROM_UNET


_ALL = (
    Design("rgbnet", "RGBNet", "rgbnet"),
    Design("znet", "ZNet", "ldznet"),
    Design("ld-znet", "LD-ZNet by cross-attention, blocks 6-10", "ldznet", (6, 7, 8, 9, 10)),
    Design(
        "concatenation", "LD-ZNet by concatenation, blocks 6-10", "concatenation", (6, 7, 8, 9, 10)
    ),
    Design("compact", "compact, blocks 6-13 (as shipped)", "compact", tuple(range(6, 14))),
    Design("compact-none", "compact without features", "compact"),
    Design("compact-1-5", "compact, blocks 1-5", "compact", (1, 2, 3, 4, 5)),
    Design("compact-6-10", "compact, blocks 6-10 (the paper's)", "compact", (6, 7, 8, 9, 10)),
    Design("compact-11-16", "compact, blocks 11-16", "compact", tuple(range(11, 17))),
    Design("compact-best", "compact, blocks 3, 4, 11-13", "compact", (3, 4, 11, 12, 13)),
)

DESIGNS = {design.name: design for design in _ALL}
"""Every design by its name."""

TABLES: dict[TableName, tuple[str, ...]] = {
    "designs": ("rgbnet", "znet", "ld-znet", "concatenation", "compact", "compact-none"),
    "blocks": (
        "compact-none",
        "compact-1-5",
        "compact-6-10",
        "compact-11-16",
        "compact-best",
        "compact",
    ),
}
"""The designs of each table, in its order; a design that is in both is trained once."""


def make_head(design: Design, miniature: Miniature, side: int) -> AnyHead:
    """A head to be trained: like the paper's from the miniature's UNet, or ours from nothing.

    Args:
        design: What it is.
        miniature: Whose latents, text and features it reads.
        side: Of the pictures in pixels.
    """
    unet = miniature.unet.config
    config = HeadConfig(
        family=miniature.family,
        unet=replace(unet, out_channels=1),
        taps=design.taps,
        image_side=side,
        probes_once=True,
    )
    if design.kind == "compact":
        ours = CompactHead(replace(config, kind="compact", unet=unet, widths=COMPACT_WIDTHS))
        return ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # a fifth faster on a CPU
    if design.sees_pictures:
        config = replace(config, unet=replace(config.unet, in_channels=CHANNELS))
    classes = {"ldznet": LDZNetHead, "concatenation": ConcatenationHead, "rgbnet": RGBNet}
    return classes[design.kind].from_unet(miniature.unet.state_dict(), config)
