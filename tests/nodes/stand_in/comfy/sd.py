"""Imitates comfy/sd.py of ComfyUI 0.8.0: CLIP and VAE; the VAE's network is diffusers'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import model_management
from .model_patcher import ModelPatcher


class CLIP:
    """A tokenizer and a text encoder."""

    def __init__(self, target: Any = None, parameters: int = 0, no_init: bool = False) -> None:
        if no_init:
            return
        device = model_management.text_encoder_device()
        self.cond_stage_model = target.clip(**target.params, device=device, dtype=torch.float32)
        self.tokenizer = target.tokenizer(embedding_directory=None)
        self.patcher = ModelPatcher(self.cond_stage_model, device, device)
        self.layer_idx: int | None = None

    def clone(self) -> CLIP:
        clone = CLIP(no_init=True)
        clone.patcher = self.patcher.clone()
        clone.cond_stage_model, clone.tokenizer = self.cond_stage_model, self.tokenizer
        clone.layer_idx = self.layer_idx
        return clone

    def clip_layer(self, layer_idx: int | None) -> None:
        self.layer_idx = layer_idx

    def tokenize(self, text: str, return_word_ids: bool = False) -> Any:
        return self.tokenizer.tokenize_with_weights(text, return_word_ids)

    def encode_from_tokens(self, tokens: Any) -> Tensor:
        self.cond_stage_model.reset_clip_options()
        if self.layer_idx is not None:
            self.cond_stage_model.set_clip_options({"layer": self.layer_idx})
        model_management.load_models_gpu([self.patcher])
        context: Tensor = self.cond_stage_model.encode_token_weights(tokens)[0]
        return context

    def load_sd(self, sd: Mapping[str, Tensor]) -> Any:
        return self.cond_stage_model.load_sd(sd)


class VAE:
    """Between pictures ``(B, H, W, 3)`` in [0, 1] and unscaled latents ``(B, 4, H/8, W/8)``."""

    def __init__(self, sd: dict[str, Tensor], config: Mapping[str, Any]) -> None:
        """Build the configured network; weights with diffusers' names are known to the host too."""
        from diffusers import AutoencoderKL

        sizes = config["params"]["ddconfig"]
        channels = [sizes["ch"] * multiple for multiple in sizes["ch_mult"]]
        network: Any = AutoencoderKL(
            block_out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            layers_per_block=sizes["num_res_blocks"],
            latent_channels=sizes["z_channels"],
        )
        network.load_state_dict(sd)
        self.first_stage_model: Any = network.eval()
        device = model_management.vae_device()
        self.patcher = ModelPatcher(_Held(network), device, device)

    @torch.no_grad()
    def encode(self, pixel_samples: Tensor) -> Tensor:
        """The mode of what the encoder gives; sides are cropped to multiples of 8, evenly."""
        model_management.load_models_gpu([self.patcher])
        pixels = _cropped(_cropped(pixel_samples, 1), 2)[..., :3].movedim(-1, 1)
        latents: Tensor = self.first_stage_model.encode(pixels * 2 - 1).latent_dist.mode()
        return latents

    @torch.no_grad()
    def decode(self, samples: Tensor) -> Tensor:
        model_management.load_models_gpu([self.patcher])
        pixels: Tensor = self.first_stage_model.decode(samples).sample
        return (pixels.clamp(-1, 1) + 1).movedim(1, -1) / 2


class _Held(nn.Module):
    """A network whose device may be assigned; diffusers' own may not."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def _cropped(pixels: Tensor, dim: int) -> Tensor:
    surplus = pixels.shape[dim] % 8
    return pixels.narrow(dim, surplus // 2, pixels.shape[dim] - surplus)
