"""Probes MODELs that are not plain, inside a real ComfyUI; prints one line of JSON.

Usage: odd_models.py HOST PROJECT. They are the miniature with a LoRA, as an inpainting model, and
set to sample as a flow.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from capture_cost import load_pack, start_host


def main() -> None:
    """What each was told, and what it gave."""
    host, project = sys.argv[1:]
    start_host(host)
    load_pack(Path(project))
    import torch

    with torch.inference_mode():
        print(json.dumps({**with_a_lora(), **for_inpainting(), **as_a_flow()}))


def with_a_lora() -> dict[str, Any]:
    """Keys of attention where weights were patched once, and where they are in each pass."""
    import comfy.model_management
    import torch
    from ldznet_pack.ldznet_core.training_free import LAYERS, attend
    from ldznet_pack.nodes.backbone import ComfyBackbone
    from ldznet_pack.nodes.miniature import load_clip

    model, layers, keys = half_precision_model(), LAYERS["miniature"], {}
    patches = {
        name: (torch.randn_like(weight.float()) * weight.float().std(),)
        for name, weight in model.model_state_dict().items()
        if "attn2.to_k.weight" in name
    }
    patched = model.clone()
    patched.add_patches(patches, 1.0)
    context = ComfyBackbone(patched, load_clip()).encode_text(["a car"])
    taken = seen_of(patched)
    for where, shown in (("plain", model), ("whole", patched), ("low", patched)):
        comfy.model_management.unload_all_models()
        if where == "low":
            shown.patch_model(load_weights=False)
            shown.load(torch.device("cpu"), lowvram_model_memory=1)
        else:
            shown.load(torch.device("cpu"), full_load=True)
        unet = shown.model.diffusion_model
        keys[where] = attend(taken, unet, layers, context, [4]).words[12].keys
        shown.unpatch_model(torch.device("cpu"))
    scale = float(keys["plain"].std())
    return {
        "lora_changes": float((keys["whole"] - keys["plain"]).abs().max()) / scale,
        "lora_differs": float((keys["low"] - keys["whole"]).abs().max()) / scale,
    }


def seen_of(model: Any) -> Any:
    """What a probe shows to the head `training-free`."""
    import torch
    from ldznet_pack.ldznet_core.training_free import LAYERS, find_places
    from ldznet_pack.nodes.backbone import ComfyBackbone
    from ldznet_pack.nodes.miniature import load_clip

    def taps_of(unet: Any) -> Any:
        return find_places(unet, LAYERS["miniature"])

    latents = torch.zeros(1, 4, 16, 16)
    return ComfyBackbone(model, load_clip()).probe(latents, [""], 100.0, taps_of=taps_of)


def for_inpainting() -> dict[str, Any]:
    """What the UNet of an inpainting model sees beside the noisy latents."""
    import torch
    from ldznet_pack.nodes.backbone import ComfyBackbone
    from ldznet_pack.nodes.miniature import load_clip

    model, seen = described_model({"in_channels": 9}), []
    watch = model.model.diffusion_model.register_forward_pre_hook(
        lambda unet, given: seen.append(given[0])
    )
    clean = torch.randn(1, 4, 16, 16)
    ComfyBackbone(model, load_clip()).probe(clean, ["a car"], 400.0)
    watch.remove()
    return {
        "masked": float(seen[0][:, 4].abs().max()),
        "differs_from_picture": float((seen[0][:, 5:] - clean).abs().max()),
    }


def as_a_flow() -> dict[str, Any]:
    """The timesteps that the UNet is told after ComfyUI's node ModelSamplingSD3."""
    import torch
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3
    from ldznet_pack.nodes.backbone import ComfyBackbone
    from ldznet_pack.nodes.miniature import load_clip, load_model

    (flow,) = ModelSamplingSD3().patch(load_model(), 3.0)
    told: list[float] = []
    watch = flow.model.diffusion_model.register_forward_pre_hook(
        lambda unet, given: told.append(float(given[1][0]))
    )
    for timestep in (100.0, 400.0):
        backbone = ComfyBackbone(flow, load_clip())
        backbone.probe(torch.zeros(1, 4, 16, 16), ["a car"], timestep)
    watch.remove()
    return {"told": told}


def half_precision_model() -> Any:
    """The miniature as ComfyUI holds most checkpoints: stored in half precision."""
    import torch
    from ldznet_pack.ldznet_core.miniature.parts import WEIGHTS, load_part

    model = described_model({}, torch.float16, torch.float32)
    state, _ = load_part(WEIGHTS / "unet")
    model.model.load_model_weights(state, "")
    return model


def described_model(changes: dict[str, Any], dtype: Any = None, computes: Any = None) -> Any:
    """The miniature's UNet with other sizes, its weights at random."""
    import comfy.model_management
    import comfy.model_patcher
    import torch
    from ldznet_pack.nodes.miniature import MiniatureModel, load_model
    from random_sd1 import randomise

    known = load_model().model.model_config
    sizes = {**known.unet_config, **changes}
    described = MiniatureModel(sizes, known.latent_format.scale_factor)
    described.set_inference_dtype(dtype or torch.float32, computes)
    device = comfy.model_management.get_torch_device()
    model = described.get_model({}, "", device=device)
    randomise(model.diffusion_model)
    return comfy.model_patcher.ModelPatcher(model, device, device)


if __name__ == "__main__":
    main()
