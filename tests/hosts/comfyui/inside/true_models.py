"""Models of the true sizes, of ComfyUI's own classes, with random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "support_pack"))

from unet_sizes import SIZES


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
