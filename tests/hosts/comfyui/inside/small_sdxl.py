"""Takes a small SDXL of ComfyUI's own classes the whole way; prints one line of JSON.

Usage: small_sdxl.py HOST PROJECT. Text features have SDXL's width, levels and depths are its own up
to a second transformer; channels are few, and weights random.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from capture_cost import load_pack, start_host
from random_sd1 import randomise

SIZES = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 2, 2],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 2, 2, 2],
    "transformer_depth_middle": 2,
    "context_dim": 2048,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "use_temporal_attention": False,
    "legacy": False,
}


def main() -> None:
    """Capture, read, probe."""
    host, project = sys.argv[1:]
    start_host(host)
    load_pack(Path(project))
    import torch

    with torch.inference_mode():
        print(json.dumps(whole_way()))


def whole_way() -> dict[str, Any]:
    """What the test looks at."""
    import torch
    from ldznet_pack.ldznet_core import Segmenter
    from ldznet_pack.ldznet_core.capture import LATE
    from ldznet_pack.ldznet_core.training_free import TrainingFree
    from ldznet_pack.nodes.backbone import ComfyBackbone
    from ldznet_pack.nodes.bank import BANK
    from ldznet_pack.nodes.capture import LDZNetCapture

    torch.manual_seed(0)
    model, clip = small_unet(), small_clip()
    prompts = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a cat", "")]
    listened = LDZNetCapture.execute(model, attention=True).result[0]
    latents = [paint(each, prompts) for each in (model, listened)]
    kept = BANK.get(latents[1], LATE)
    backbone = ComfyBackbone(model, clip)
    segmenter = Segmenter(backbone, TrainingFree(), phrases_per_pass=4)
    scaled, phrases = backbone.scaled(latents[1]), ["a cat", "the sky"]
    answers = {
        "captured": segmenter.segment_features(scaled, kept, phrases),
        "probed": segmenter.segment_latents(scaled, phrases),
    }
    return {
        **without_a_head(model, prompts),
        **of_edm(model, clip, prompts),
        "identical": torch.equal(*latents),
        "counts": backbone.count_tokens(["a cat", ""]),
        "places": len(kept.blocks),
        "timestep": kept.timestep,
        "full_size_mib": full_size_bytes(kept) / 2**20,
        "hooks": sum(len(each._forward_hooks) for each in model.model.diffusion_model.modules()),
        **{name: looked_at(answer) for name, answer in answers.items()},
    }


def without_a_head(model: Any, prompts: Any) -> dict[str, Any]:
    """What is kept of a run for the prompt's mask alone."""
    from ldznet_pack.ldznet_core.capture import LATE
    from ldznet_pack.nodes.bank import BANK
    from ldznet_pack.nodes.capture import LDZNetCapture

    seen = BANK.seen(paint(LDZNetCapture.execute(model).result[0], prompts))
    return {"alone": [len(seen.features(LATE).blocks), bool(seen.difference.isfinite().all())]}


def of_edm(model: Any, clip: Any, prompts: Any) -> dict[str, Any]:
    """The same after ComfyUI's node that has it sample as Playground v2.5 does."""
    from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM
    from ldznet_pack.ldznet_core import Segmenter
    from ldznet_pack.ldznet_core.capture import LATE
    from ldznet_pack.ldznet_core.training_free import TrainingFree
    from ldznet_pack.nodes.backbone import ComfyBackbone
    from ldznet_pack.nodes.bank import BANK
    from ldznet_pack.nodes.capture import LDZNetCapture

    (set_up,) = ModelSamplingContinuousEDM().patch(model, "edm_playground_v2.5", 80.0, 0.002)
    latents = paint(LDZNetCapture.execute(set_up, attention=True).result[0], prompts)
    seen, backbone = BANK.seen(latents), ComfyBackbone(set_up, clip)
    segmenter, scaled = Segmenter(backbone, TrainingFree()), backbone.scaled(latents)
    phrases = ["a cat", "the sky"]
    format_of_it = set_up.get_model_object("latent_format")
    return {
        "edm_scaled": bool((scaled == format_of_it.process_in(latents)).all()),
        "edm_timestep": seen.features(LATE).timestep,
        "edm_difference": bool(seen.difference.isfinite().all()),
        "edm_captured": looked_at(segmenter.segment_features(scaled, seen.features(LATE), phrases)),
        "edm_probed": looked_at(segmenter.segment_latents(scaled, phrases)),
    }


def looked_at(answer: Any) -> list[Any]:
    """The shape of soft masks, and whether they are numbers from 0 to 1."""
    soft = answer.probabilities
    return [list(soft.shape), bool(((soft >= 0) & (soft <= 1)).all())]


def full_size_bytes(kept: Any) -> int:
    """What the same places weigh with SDXL's 320 channels, at 1024x1024 pixels."""
    grown = (320 // 64) * (1024 * 1024) // (192 * 256)
    return sum(each.numel() * each.element_size() * grown for each in kept.blocks.values())


def paint(model: Any, prompts: Any) -> Any:
    """A few steps of ComfyUI's own k-sampler."""
    import comfy.sample
    import torch

    latent = torch.zeros(1, 4, 24, 32)
    noise = comfy.sample.prepare_noise(latent, 0)
    return comfy.sample.sample(
        model, noise, 20, 5.0, "euler", "normal", *prompts, latent, disable_pbar=True
    )


def small_unet() -> Any:
    """A MODEL whose family ComfyUI calls SDXL."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    device = comfy.model_management.get_torch_device()
    described = comfy.supported_models.SDXL({**SIZES, "dtype": torch.float32})
    described.set_inference_dtype(torch.float32, None)
    model = described.get_model({}, "", device=device)
    randomise(model.diffusion_model)
    return comfy.model_patcher.ModelPatcher(model, device, device)


def small_clip() -> Any:
    """A CLIP with SDXL's tokenizers and the widths of its encoders, of three layers each."""
    import comfy.sd
    import comfy.sdxl_clip
    import comfy.supported_models_base
    import torch
    from comfy.sd1_clip import SDClipModel

    def encoder(width: int, padding: int) -> Any:
        sizes = {
            "num_hidden_layers": 3,
            "hidden_size": width,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "hidden_act": "quick_gelu",
            "max_position_embeddings": 77,
            "eos_token_id": 49407,
            "projection_dim": width,
        }
        made = SDClipModel(
            layer="hidden",
            layer_idx=-2,
            layer_norm_hidden_state=False,
            textmodel_json_config=sizes,
            dtype=torch.float32,
            special_tokens={"start": 49406, "end": 49407, "pad": padding},
        )
        randomise(made)
        return made

    class SmallClip(comfy.sdxl_clip.SDXLClipModel):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None):
            torch.nn.Module.__init__(self)
            self.clip_l, self.clip_g = encoder(768, 49407), encoder(1280, 0)
            self.dtypes = {torch.float32}

    target = comfy.supported_models_base.ClipTarget(comfy.sdxl_clip.SDXLTokenizer, SmallClip)
    return comfy.sd.CLIP(target, parameters=1)


if __name__ == "__main__":
    main()
