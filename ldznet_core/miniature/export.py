"""The miniature as one checkpoint in the layout of LDM, which hosts load as any other model.

It takes nothing but torch: neither diffusers nor transformers need be installed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ..phrases import TOKEN_LIMIT
from ..sizes import sizes_read
from ..unet import UNetConfig, infer_unet_config
from ..weights import read_metadata, write_weights
from .ldm_layout import METADATA_KEY, TEXT, UNET, VAE, ldm_vae, whole_vocabulary
from .parts import ANOTHER_FOLDER, WEIGHTS, load_part

NAME = "ldznet-miniature"
"""What the exported files are called, before their endings."""

Host = Literal["webui", "ldm"]

_TOKENIZER = Path(__file__).parents[1] / "tokenizer"
_START, _END = "<|startoftext|>", "<|endoftext|>"
_TEXT_HEAD_CHANNELS = 32


def export_miniature(
    target: Path, host: Host, *, source: Path = WEIGHTS, home: Path | None = None
) -> list[Path]:
    """Write the miniature for a host; the files written, the checkpoint first.

    Args:
        target: The folder to write into; it is made where there is none.
        host: "ldm" is the checkpoint alone. "webui" is for A1111, which needs two things more:
            its configuration of the same name, and a folder with CLIP's sizes and tokenizer.
        source: The folder of the miniature's weights.
        home: Where the files will lie in the end, if not in the target: the configuration names
            its CLIP folder by the whole path.

    Raises:
        CheckpointError: Weights are missing, damaged, or of something else, or files cannot be
            written.
    """
    miniature = _read(source)
    files = [_write_checkpoint(miniature, target)]
    if host == "webui":
        clip = f"{NAME}-clip"
        files.append(_write_configuration(miniature, target, (home or target).absolute() / clip))
        files += _write_clip_folder(miniature, target / clip)
    return files


@dataclass(frozen=True, slots=True)
class _Miniature:
    """Weights by LDM's names, and the sizes that they do not tell."""

    state: Mapping[str, Tensor]
    unet: UNetConfig
    vae: Mapping[str, Any]
    text: Mapping[str, Any]
    training: str


def _read(source: Path) -> _Miniature:
    unet, unet_config = load_part(source / "unet")
    vae, vae_config = load_part(source / "vae")
    text, text_config = load_part(source / "text_encoder")
    expected = f"expected a miniature's unet, vae and text_encoder in {source}"
    with sizes_read(f"{expected}, got parts of something else", ANOTHER_FOLDER):
        sizes = infer_unet_config(unet, unet_config["num_heads"])
        vae_sizes = _vae_sizes(vae, vae_config)
        text_sizes = _text_sizes(text_config)
        clip = whole_vocabulary(text, text_sizes["vocab_size"])
    state = {
        **{f"{UNET}{name}": each for name, each in unet.items()},
        **{f"{VAE}{name}": each for name, each in ldm_vae(vae).items()},
        **{f"{TEXT}{name}": each for name, each in clip.items()},
    }
    training = read_metadata(source / "unet").get("training", "")
    return _Miniature(state, sizes, vae_sizes, text_sizes, training)


def _write_checkpoint(miniature: _Miniature, target: Path) -> Path:
    """The weights in half precision, in which they were stored.

    Nothing is said of the noise schedule: hosts compute it from its two ends.
    """
    state = {
        name: each.half() if each.is_floating_point() else each
        for name, each in miniature.state.items()
    }
    untold = {
        "unet_heads": miniature.unet.num_heads,
        "text_heads": miniature.text["num_attention_heads"],
        "scaling_factor": miniature.vae["scaling_factor"],
    }
    metadata = {METADATA_KEY: json.dumps(untold), "training": miniature.training}
    return write_weights(state, target / NAME, metadata, max_shard_bytes=None)[0]


def _write_configuration(miniature: _Miniature, target: Path, clip: Path) -> Path:
    lines = [
        "# A1111 reads this beside the checkpoint of the same name. It finds CLIP's folder by the",
        "# path at the end: after a move, export again or change it.",
        *_yaml_lines({"model": _ldm_configuration(miniature, clip)}),
    ]
    file = target / f"{NAME}.yaml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _write_clip_folder(miniature: _Miniature, folder: Path) -> list[Path]:
    """What transformers builds CLIP's text model and tokenizer from."""
    folder.mkdir(exist_ok=True)
    files = []
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        files.append(folder / name)
        shutil.copyfile(_TOKENIZER / name, files[-1])
    tokens = {"bos_token": _START, "eos_token": _END, "pad_token": _END, "unk_token": _END}
    settings = {"config.json": dict(miniature.text), "special_tokens_map.json": tokens}
    for name, content in settings.items():
        files.append(folder / name)
        files[-1].write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return files


def _ldm_configuration(miniature: _Miniature, clip: Path) -> dict[str, Any]:
    """The model in the words of CompVis: a class and its arguments, for each part.

    A1111 knows its text encoder by exactly this class, and reads prompts in its own way for it.
    """
    unet, vae = miniature.unet, miniature.vae
    attention = [1 << level for level in range(unet.transformer_levels)]
    return {
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.012,
            "timesteps": 1000,
            "num_timesteps_cond": 1,
            "first_stage_key": "jpg",
            "cond_stage_key": "txt",
            "image_size": vae["resolution"] // 8,
            "channels": unet.in_channels,
            "conditioning_key": "crossattn",
            "scale_factor": vae["scaling_factor"],
            "use_ema": False,
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "image_size": vae["resolution"] // 8,
                    "in_channels": unet.in_channels,
                    "out_channels": unet.out_channels,
                    "model_channels": unet.model_channels,
                    "channel_mult": list(unet.channel_mult),
                    "num_res_blocks": unet.num_res_blocks,
                    "attention_resolutions": attention,
                    "num_heads": unet.num_heads,
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": unet.context_dim,
                    "use_checkpoint": False,
                    "legacy": False,
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.AutoencoderKL",
                "params": {
                    "embed_dim": unet.in_channels,
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": unet.in_channels,
                        "resolution": vae["resolution"],
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": vae["ch"],
                        "ch_mult": vae["ch_mult"],
                        "num_res_blocks": vae["num_res_blocks"],
                        "attn_resolutions": [],
                        "dropout": 0.0,
                    },
                    "lossconfig": {"target": "torch.nn.Identity"},
                },
            },
            "cond_stage_config": {
                "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                "params": {"version": str(clip)},
            },
        },
    }


def _yaml_lines(mapping: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Nested mappings of plain values in YAML, in which a value of JSON is one, too."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml_lines(value, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}"


def _vae_sizes(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    channels: list[int] = config["channels"]
    first, rest = channels[0], [width % channels[0] for width in channels]
    if any(rest):
        raise ValueError(f"a VAE of {channels} channels, which are no multiples of the first")
    blocks = {name.split(".")[4] for name in state if name.startswith("encoder.down_blocks.0.res")}
    return {
        "ch": first,
        "ch_mult": [width // first for width in channels],
        "num_res_blocks": len(blocks),
        "resolution": config["image_side"],
        "scaling_factor": config["scaling_factor"],
    }


def _text_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The text encoder in the words of transformers."""
    vocabulary = json.loads((_TOKENIZER / "vocab.json").read_text(encoding="utf-8"))
    width = config["width"]
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": len(vocabulary),
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": config["layers"],
        "num_attention_heads": width // _TEXT_HEAD_CHANNELS,
        "max_position_embeddings": TOKEN_LIMIT,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": width,
        "bos_token_id": vocabulary[_START],
        "eos_token_id": vocabulary[_END],
        "pad_token_id": vocabulary[_END],
    }
