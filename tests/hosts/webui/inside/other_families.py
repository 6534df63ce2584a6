"""Writes an SD 2.1 or SDXL of random weights as a checkpoint, with its configuration for A1111.

Usage: other_families.py HOST sd2|sdxl small|whole CHECKPOINT, with A1111 as host, in its Python.
Forge and reForge know whole ones only. Small ones have few channels and layers; but their text
features are as wide as those of whole ones, for families are told by that.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
ENCODERS = HERE.parent / "support_extension" / "ldztest" / "open_clip"
TOKENIZER = HERE.parents[3] / "ldznet_core" / "tokenizer"
FEW = {"model_channels": 32, "num_head_channels": 32}


def main() -> None:
    """Write the checkpoint, in half precision."""
    host, family, size, target = Path(sys.argv[1]), *sys.argv[2:4], Path(sys.argv[4])
    repositories = host / "repositories"
    for name in ("stable-diffusion-stability-ai", "generative-models"):
        sys.path.insert(0, str(repositories / name))
    networks = of_sdxl if family == "sdxl" else of_sd2
    with torch.device("meta"):
        parts = dict(networks(repositories, target, size == "small"))
    shapes = {
        prefix + name: weight.shape
        for prefix, network in parts.items()
        for name, weight in network.named_parameters()
    }
    write(shapes, target)


def of_sd2(repositories: Path, target: Path, is_small: bool) -> Iterator[tuple[str, nn.Module]]:
    """Networks of an SD 2.1 that predicts v; the configuration is written."""
    from ldm.models.autoencoder import AutoencoderKL
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    folder = repositories / "stable-diffusion-stability-ai/configs/stable-diffusion"
    config = OmegaConf.load(folder / "v2-inference-v.yaml")
    parts = config.model.params
    parts.unet_config.params.update({"use_fp16": False, "use_checkpoint": False})
    parts.cond_stage_config.params.arch = "ViT-H-14"
    if is_small:
        parts.unet_config.params.update(FEW)
        parts.first_stage_config.params.ddconfig.ch = 32
        parts.cond_stage_config.params.arch = "ldznet-small-h"
    OmegaConf.save(config, target.with_suffix(".yaml"))
    yield "model.diffusion_model.", UNetModel(**plain(parts.unet_config.params))
    yield "first_stage_model.", AutoencoderKL(**plain(parts.first_stage_config.params))
    yield "cond_stage_model.model.", open_clip_of(parts.cond_stage_config.params.arch)


def of_sdxl(repositories: Path, target: Path, is_small: bool) -> Iterator[tuple[str, nn.Module]]:
    """Networks of an SDXL; the configuration is written, and a folder with CLIP's own."""
    from sgm.models.autoencoder import AutoencoderKL
    from sgm.modules.diffusionmodules.openaimodel import UNetModel
    from transformers import CLIPTextConfig, CLIPTextModel

    config = OmegaConf.load(repositories / "generative-models/configs/inference/sd_xl_base.yaml")
    parts = config.model.params
    parts.network_config.params.use_checkpoint = False
    first, second = parts.conditioner_config.params.emb_models[:2]
    clip = target.with_name(f"{target.stem}-clip").absolute()
    first.params.version = str(clip)
    layers = 12
    if is_small:
        layers = 3
        parts.network_config.params.update({**FEW, "transformer_depth": [1, 2, 3]})
        parts.first_stage_config.params.ddconfig.ch = 32
        first.params.layer_idx = layers - 1
        second.params.arch = "ldznet-small-g"
    OmegaConf.save(config, target.with_suffix(".yaml"))
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    text = CLIPTextConfig(num_hidden_layers=layers, **sizes)
    text.save_pretrained(clip)
    for name in ("merges.txt", "tokenizer_config.json", "vocab.json"):
        shutil.copy(TOKENIZER / name, clip)
    yield "model.diffusion_model.", UNetModel(**plain(parts.network_config.params))
    yield "first_stage_model.", AutoencoderKL(**plain(parts.first_stage_config.params))
    yield "conditioner.embedders.0.transformer.", CLIPTextModel(text)
    yield "conditioner.embedders.1.model.", open_clip_of(second.params.arch)


def open_clip_of(name: str) -> nn.Module:
    """OpenCLIP of a size, without its eyes, as checkpoints hold it."""
    import open_clip

    open_clip.add_model_config(ENCODERS)
    sizes = open_clip.get_model_config(name)
    sizes["vision_cfg"] = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    network: Any = open_clip.CLIP(**sizes)
    del network.visual
    kept: nn.Module = network
    return kept


def plain(params: Any) -> Any:
    """A part of a configuration as Python's own dictionaries and lists."""
    return OmegaConf.to_container(params)


def write(shapes: Mapping[str, torch.Size], target: Path) -> None:
    """Write random weights as safetensors, one by one: whole models are larger than memory."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    some = torch.randn(2**24, generator=torch.Generator().manual_seed(0)).half()
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            file.write(filled(name, shape, some).numpy().tobytes())


def filled(name: str, shape: torch.Size, some: Tensor) -> Tensor:
    """Weights that keep activations near 1, and the mean of text features off 0.

    Random ones repeat some that were drawn once, from a place that the name tells.
    """
    count, most = math.prod(shape), len(some)
    start = sum(name.encode()) * 4099 % max(1, most - count + 1)
    again = some.expand(math.ceil(count / most), -1).reshape(-1)
    drawn = again[start : start + count].reshape(shape)
    if len(shape) > 1:
        deviation = 0.02 if "embedding" in name else math.prod(shape[1:]) ** -0.5
        return drawn * deviation
    if name.endswith(("final_layer_norm.bias", "ln_final.bias")):
        return drawn * 0.1 + 0.1
    return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=torch.float16)


if __name__ == "__main__":
    main()
