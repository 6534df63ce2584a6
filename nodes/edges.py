"""The inputs that treat the edges of masks, the same on every node that makes masks."""

from __future__ import annotations

from comfy_api.latest import io

_MOST = 256  # pixels


def edge_inputs() -> list[io.Input]:
    """How far masks grow, and how softly their edges fade: both optional, both off."""
    return [
        io.Int.Input(
            "grow",
            default=0,
            min=0,
            max=_MOST,
            optional=True,
            tooltip="Expand the mask by this many pixels.",
        ),
        io.Int.Input(
            "feather",
            default=0,
            min=0,
            max=_MOST,
            optional=True,
            tooltip="Soften the edge over this many pixels on each side.",
        ),
    ]
