"""Writes an SD 1.5 checkpoint of the true size with random weights, and a head for it.

Usage: random_sd1.py HOST PROJECT CHECKPOINT HEAD. The weights bear the names of ComfyUI's modules.
"""

from __future__ import annotations

import sys
from pathlib import Path

from capture_cost import load_pack, start_host
from true_models import random_model


def main() -> None:
    """Write both files, in half precision."""
    host, project, checkpoint, head = sys.argv[1:]
    start_host(host)
    load_pack(Path(project))
    import torch
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.sd1_clip import SD1ClipModel
    from ldznet_pack.ldznet_core import HeadConfig, LDZNetHead, save_head
    from ldznet_pack.ldznet_core.unet import UNetConfig
    from safetensors.torch import save_file

    torch.manual_seed(0)
    parts = {
        "model.diffusion_model.": random_model("sd1", torch.float32).model.diffusion_model,
        "cond_stage_model.transformer.": SD1ClipModel(dtype=torch.float32).clip_l.transformer,
        "first_stage_model.": AutoencoderKL(
            embed_dim=4,
            ddconfig={
                "double_z": True,
                "z_channels": 4,
                "resolution": 256,
                "in_channels": 3,
                "out_ch": 3,
                "ch": 128,
                "ch_mult": [1, 2, 4, 4],
                "num_res_blocks": 2,
                "attn_resolutions": [],
                "dropout": 0.0,
            },
        ),
    }
    state = {}
    for prefix, part in parts.items():
        randomise(part)
        state |= {prefix + name: weight.half() for name, weight in part.state_dict().items()}
    save_file({name: weight.contiguous() for name, weight in state.items()}, checkpoint)
    config = HeadConfig(family="sd1", unet=UNetConfig(out_channels=1))
    save_head(LDZNetHead(config), head, dtype=torch.float16, max_shard_bytes=None)


def randomise(network: object) -> None:
    """Give every weight a value that keeps activations near 1: ComfyUI leaves them unset."""
    import torch

    assert isinstance(network, torch.nn.Module)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)


if __name__ == "__main__":
    main()
