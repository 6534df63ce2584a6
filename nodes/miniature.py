"""The miniature as ComfyUI's own MODEL, CLIP and VAE, so that every stock node runs on it."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base

from ..ldznet_core.miniature.ldm_layout import whole_vocabulary
from ..ldznet_core.miniature.parts import WEIGHTS, load_part
from ..ldznet_core.unet import UNetConfig, infer_unet_config

_CLIP_TOKENS = 49408
_END_TOKEN = 49407


class MiniatureModel(comfy.supported_models_base.BASE):
    """What ComfyUI must know of the miniature to build and feed its UNet."""

    memory_usage_factor = 1.0
    latent_format = comfy.latent_formats.LatentFormat

    def __init__(self, unet_config: dict[str, Any], scaling_factor: float) -> None:
        """Describe a UNet and the scale of its latents."""
        self.unet_extra_config = {"num_heads": unet_config["num_heads"], "num_head_channels": -1}
        super().__init__(unet_config)
        self.latent_format.scale_factor = scaling_factor


def load_model() -> comfy.model_patcher.ModelPatcher:
    """The miniature's UNet as a MODEL."""
    state, config = load_part(WEIGHTS / "unet")
    _, vae_config = load_part(WEIGHTS / "vae")
    sizes = infer_unet_config(state, config["num_heads"])
    management = comfy.model_management
    load_device, offload_device = management.get_torch_device(), management.unet_offload_device()
    parameters = sum(weight.numel() for weight in state.values())
    dtype = management.unet_dtype(model_params=parameters)
    described = MiniatureModel(_unet_config(sizes), vae_config["scaling_factor"])
    described.set_inference_dtype(dtype, management.unet_manual_cast(dtype, load_device))
    model = described.get_model({}, "", device=offload_device)
    model.load_model_weights(state, "")  # takes the entries it knows out of the dictionary
    return comfy.model_patcher.ModelPatcher(model, load_device, offload_device)


def load_clip() -> comfy.sd.CLIP:
    """The miniature's text encoder as a CLIP, under the host's own tokenizer."""
    state, config = load_part(WEIGHTS / "text_encoder")
    width, layers = config["width"], config["layers"]
    sizes = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 32,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "eos_token_id": _END_TOKEN,
    }
    weights = {
        f"text_model.{name}": weight
        for name, weight in whole_vocabulary(state, _CLIP_TOKENS).items()
    }
    target = comfy.supported_models_base.ClipTarget(*_clip_classes(sizes))
    clip = comfy.sd.CLIP(target, parameters=sum(weight.numel() for weight in weights.values()))
    clip.load_sd(weights)
    return clip


def load_vae() -> comfy.sd.VAE:
    """The miniature's VAE as a VAE; ComfyUI itself turns diffusers' key names into its own."""
    state, config = load_part(WEIGHTS / "vae")
    channels = config["channels"]
    sizes = {
        "double_z": True,
        "z_channels": 4,
        "resolution": config["image_side"],
        "in_channels": 3,
        "out_ch": 3,
        "ch": channels[0],
        "ch_mult": [width // channels[0] for width in channels],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return comfy.sd.VAE(sd=state, config={"params": {"embed_dim": 4, "ddconfig": sizes}})


def _unet_config(sizes: UNetConfig) -> dict[str, Any]:
    """The sizes in ComfyUI's words; its depths are of every res block, upwards from the bottom."""
    carrying = [level < sizes.transformer_levels for level in range(len(sizes.channel_mult))]
    return {
        "image_size": 32,
        "in_channels": sizes.in_channels,
        "out_channels": sizes.out_channels,
        "model_channels": sizes.model_channels,
        "channel_mult": list(sizes.channel_mult),
        "num_res_blocks": [sizes.num_res_blocks] * len(carrying),
        "transformer_depth": [int(has) for has in carrying for _ in range(sizes.num_res_blocks)],
        "transformer_depth_output": [
            int(has) for has in carrying for _ in range(sizes.num_res_blocks + 1)
        ],
        "transformer_depth_middle": 1,
        "context_dim": sizes.context_dim,
        "num_heads": sizes.num_heads,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "use_temporal_attention": False,
        "adm_in_channels": None,
        "legacy": False,
    }


def _clip_classes(sizes: dict[str, Any]) -> tuple[type[Any], type[Any]]:
    """A tokenizer class and a text model class for a CLIP of these sizes."""

    class Tokenizer(comfy.sd1_clip.SDTokenizer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "embedding_size": sizes["hidden_size"]})

    class MiniatureTokenizer(comfy.sd1_clip.SD1Tokenizer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "tokenizer": Tokenizer})

    class TextModel(comfy.sd1_clip.SDClipModel):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(textmodel_json_config=sizes, return_projected_pooled=False, **kwargs)

    class MiniatureTextModel(comfy.sd1_clip.SD1ClipModel):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(clip_model=TextModel, **kwargs)

    return MiniatureTokenizer, MiniatureTextModel
