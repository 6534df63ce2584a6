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
            tooltip="Pixels by which the masks reach further to every side.",
        ),
        io.Int.Input(
            "feather",
            default=0,
            min=0,
            max=_MOST,
            optional=True,
            tooltip="Pixels over which the masks' edges fade, to either side.",
        ),
    ]
