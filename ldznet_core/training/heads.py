"""The head that a training begins with: fresh, from the model's own UNet, or an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..capture import BEST_TIMESTEP
from ..checkpoint import load_head
from ..errors import InputError
from ..head import AnyHead, CompactHead, HeadConfig, LDZNetHead
from ..head.config import Kind
from ..unet import UNetConfig

SIDES = {"miniature": 128, "sd1": 512}
"""Of the pictures that a family's UNet was trained on, in pixels."""

COMPACT_WIDTHS = (64, 96, 128)
"""Of the miniature's compact heads."""

WIDTHS = {"miniature": COMPACT_WIDTHS, "sd1": (128, 256, 384)}
"""Of a family's compact heads: 1.8 and 16.2 million weights with taps 6 to 13."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlan:
    """Which head is trained.

    Attributes:
        kind: the paper's, or ours.
        taps: blocks that it reads.
        side: of the pictures in pixels; None is the family's own, or that of ``start``.
        template: what a phrase is put into; None is the phrase alone, or that of ``start``.
        start: a head's file to go on from, or the name of a built-in one.
        timestep: of a probe, unless ``start`` has its own.
    """

    kind: Kind
    taps: tuple[int, ...]
    side: int | None = None
    template: str | None = None
    start: Path | None = None
    timestep: float = BEST_TIMESTEP


def first_head(
    plan: HeadPlan,
    family: str,
    unet: UNetConfig,
    unet_weights: Callable[[], Mapping[str, Tensor]],
) -> AnyHead:
    """The head as training begins.

    Args:
        plan: Which.
        family: Of the model that it is trained on.
        unet: Sizes of that model's UNet.
        unet_weights: Gives the UNet's weights by LDM's names, for the paper's head.

    Raises:
        InputError: The plan cannot be carried out.
        CheckpointError: ``start`` is missing or damaged.
    """
    if plan.side is not None and (plan.side < 64 or plan.side % 64):
        raise InputError(f"expected a side in multiples of 64 pixels, got {plan.side}: correct it")
    if plan.start is not None:
        return _continued(plan, plan.start, family, unet)
    config = HeadConfig(
        family=family,
        unet=unet if plan.kind == "compact" else replace(unet, out_channels=1),
        kind=plan.kind,
        widths=WIDTHS[family] if plan.kind == "compact" else (),
        taps=plan.taps,
        image_side=plan.side or SIDES[family],
        template=plan.template or "{}",
        probes_once=plan.kind == "compact",
        timestep=plan.timestep,
    )
    if plan.kind == "compact":
        return CompactHead(config)
    return LDZNetHead.from_unet(unet_weights(), config)


def _continued(plan: HeadPlan, start: Path, family: str, unet: UNetConfig) -> AnyHead:
    head = load_head(start).requires_grad_(True)
    config = head.config
    _compare(start, "family", family, config.family)
    _compare(start, "kind", plan.kind, config.kind)
    _compare(start, "taps", list(plan.taps), list(config.taps))
    _compare(start, "context", unet.context_dim, config.unet.context_dim)
    side = plan.side or config.image_side
    if config.kind == "ldznet":  # its tables of positions are as large as its pictures
        _compare(start, "side", side, config.image_side)
    head.config = replace(config, image_side=side, template=plan.template or config.template)
    return head


def _compare(start: Path, what: str, wanted: object, got: object) -> None:
    if wanted != got:
        raise InputError(
            f"expected a head of {what} {wanted} in {start}, got {got}: name another file, or "
            f"other settings"
        )
