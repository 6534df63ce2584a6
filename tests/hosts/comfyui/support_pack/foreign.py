"""Models of families that the pack does not serve, without weights: built, loaded, never run."""

from __future__ import annotations

import dataclasses
from typing import Any

import comfy.model_management
import comfy.supported_models
import torch
from comfy.ldm.flux.model import FluxParams
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from .unet_sizes import FOUR_LEVELS, SIZES

_FLUX_FIELDS = {field.name for field in dataclasses.fields(FluxParams)}  # newer hosts have more
_TRUE_SIZES = {
    family: (getattr(comfy.supported_models, name), {**sizes, "dtype": torch.float32})
    for family, (name, sizes) in SIZES.items()
    if family in ("sd1", "sdxl")
}
_CONFIGS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    **_TRUE_SIZES,
    "sd3": (
        comfy.supported_models.SD3,
        {
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "depth": 2,
            "input_size": None,
            "adm_in_channels": 2048,
            "num_patches": 36864,
            "pos_embed_max_size": 192,
            "pos_embed_scaling_factor": None,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 4096, "out_features": 128},
            },
            "dtype": torch.float32,
        },
    ),
    "flux": (
        comfy.supported_models.Flux,
        {
            "image_model": "flux",
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "vec_in_dim": 768,
            "context_in_dim": 4096,
            "hidden_size": 256,
            "mlp_ratio": 4.0,
            "num_heads": 2,
            "depth": 1,
            "depth_single_blocks": 1,
            "axes_dim": [16, 56, 56],
            **({"txt_ids_dims": []} if "txt_ids_dims" in _FLUX_FIELDS else {}),
            "theta": 10000,
            "qkv_bias": True,
            "guidance_embed": True,
            "dtype": torch.float32,
        },
    ),
    "svd": (
        comfy.supported_models.SVD_img2vid,
        {
            **FOUR_LEVELS,
            "dtype": torch.float32,
            "in_channels": 8,
            "num_classes": "sequential",
            "adm_in_channels": 768,
            "context_dim": 1024,
            "use_linear_in_transformer": True,
            "use_temporal_attention": True,
            "use_temporal_resblock": True,
            "extra_ff_mix_layer": True,
            "use_spatial_context": True,
            "merge_strategy": "learned_with_images",
            "merge_factor": 0.0,
            "video_kernel_size": [3, 1, 1],
            "disable_temporal_crossattention": False,
        },
    ),
    "wan": (
        comfy.supported_models.WAN21_T2V,
        {
            "image_model": "wan2.1",
            "model_type": "t2v",
            "dim": 256,
            "ffn_dim": 512,
            "num_heads": 2,
            "num_layers": 1,
            "dtype": torch.float32,
        },
    ),
}


class TestForeignModel(io.ComfyNode):
    """A model of a family, as the host's own classes build it; its weights take no memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestForeignModel",
            category="LD-ZNet tests",
            inputs=[io.Combo.Input("family", options=list(_CONFIGS))],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, family: str) -> io.NodeOutput:
        kind, sizes = _CONFIGS[family]
        model = kind(sizes).get_model({}, "", device=torch.device("meta"))
        device = comfy.model_management.get_torch_device()
        offloaded = comfy.model_management.unet_offload_device()
        return io.NodeOutput(ModelPatcher(model, device, offloaded))
