"""The true sizes of UNets, as ComfyUI reads them from files; it needs no host to be read itself."""

from __future__ import annotations

from typing import Any

_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "use_spatial_transformer": True,
    "use_temporal_attention": False,
    "legacy": False,
}
FOUR_LEVELS: dict[str, Any] = {
    **_UNET,
    "channel_mult": [1, 2, 4, 4],
    "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1] * 9 + [0] * 3,
    "transformer_depth_middle": 1,
    "adm_in_channels": None,
}
"""What SD 1.x and SD 2.x share."""

SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "sd1": ("SD15", {**FOUR_LEVELS, "context_dim": 768, "use_linear_in_transformer": False}),
    "sd2": ("SD20", {**FOUR_LEVELS, "context_dim": 1024, "use_linear_in_transformer": True}),
    "sdxl": (
        "SDXL",
        {
            **_UNET,
            "channel_mult": [1, 2, 4],
            "num_res_blocks": [2, 2, 2],
            "transformer_depth": [0, 0, 2, 2, 10, 10],
            "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
            "transformer_depth_middle": 10,
            "context_dim": 2048,
            "use_linear_in_transformer": True,
            "num_classes": "sequential",
            "adm_in_channels": 2816,
        },
    ),
}
"""By family: ComfyUI's name for it, and what ComfyUI reads from its files (model_detection.py)."""
