"""Models of the true sizes, of ComfyUI's own classes, with random weights."""

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
_FOUR_LEVELS = {
    **_UNET,
    "channel_mult": [1, 2, 4, 4],
    "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1] * 9 + [0] * 3,
    "transformer_depth_middle": 1,
    "adm_in_channels": None,
}
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "sd1": ("SD15", {**_FOUR_LEVELS, "context_dim": 768, "use_linear_in_transformer": False}),
    "sd2": ("SD20", {**_FOUR_LEVELS, "context_dim": 1024, "use_linear_in_transformer": True}),
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


def random_model(family: str, dtype: Any) -> Any:
    """A MODEL on the CPU whose numbers stay ordinary, so that its cost is that of a trained one."""
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    name, sizes = SIZES[family]
    described = getattr(comfy.supported_models, name)({**sizes, "dtype": dtype})
    described.set_inference_dtype(dtype, None)
    device = torch.device("cpu")
    model = described.get_model({}, "", device=device)
    _fill(model.diffusion_model)
    return comfy.model_patcher.ModelPatcher(model, device, device)


def _fill(network: Any) -> None:
    """Give every weight a value of few that were drawn, for drawing all takes a minute."""
    import torch

    drawn = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            times = -(-weight.numel() // len(drawn))
            values = drawn.repeat(times)[: weight.numel()].reshape(weight.shape)
            if weight.ndim > 1:
                weight.copy_(values / weight[0].numel() ** 0.5)
            else:
                weight.copy_(0.1 * values + (0 if name.endswith("bias") else 1))
