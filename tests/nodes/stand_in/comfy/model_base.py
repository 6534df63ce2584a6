"""Imitates comfy/model_base.py of ComfyUI 0.8.0: a UNet with its noise levels and latent scale.

The UNet is real: this project's own, whose layers and weights bear the names of the host's.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from ldznet_core.unet import UNet, UNetConfig

from .model_sampling import ModelSamplingDiscrete
from .patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers


class BaseModel(nn.Module):
    """What a MODEL patches: ``model.diffusion_model`` and what surrounds it."""

    def __init__(
        self, model_config: Any, device: torch.device | None = None, unet: nn.Module | None = None
    ) -> None:
        """Build the configured UNet, unless a test brings its own."""
        super().__init__()
        self.model_config = model_config
        self.latent_format = model_config.latent_format
        self.device = device
        self.diffusion_model = unet or UNet(_sizes(model_config.unet_config)).eval()
        self.model_sampling = ModelSamplingDiscrete()

    def apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """One pass, through the wrappers; ``t`` holds sigmas."""
        options = {} if transformer_options is None else transformer_options
        wrappers = get_all_wrappers(WrappersMP.APPLY_MODEL, options)
        executor = WrapperExecutor(self._apply_model, self, wrappers)
        denoised: Tensor = executor.execute(x, t, c_concat, c_crossattn, control, options, **kwargs)
        return denoised

    def _apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None,
        c_crossattn: Tensor | None,
        control: Any,
        transformer_options: dict[str, Any],
    ) -> Tensor:
        timestep = self.model_sampling.timestep(t).float()
        scaled = self.model_sampling.calculate_input(t, x)
        noise = self.diffusion_model(scaled, timestep, c_crossattn)
        return self.model_sampling.calculate_denoised(t, noise.float(), x)

    def load_model_weights(self, sd: dict[str, Tensor], unet_prefix: str = "") -> BaseModel:
        """Take the UNet's weights out of a state dictionary; what is missing is only logged."""
        wanted = [key for key in sd if key.startswith(unet_prefix)]
        weights = {key.removeprefix(unet_prefix): sd.pop(key) for key in wanted}
        missing, unexpected = self.diffusion_model.load_state_dict(weights, strict=False)
        if missing or unexpected:
            logging.warning("unet missing: %s, unexpected: %s", missing, unexpected)
        return self

    def process_latent_in(self, latent: Tensor) -> Tensor:
        scaled: Tensor = self.latent_format.process_in(latent)
        return scaled

    def process_latent_out(self, latent: Tensor) -> Tensor:
        unscaled: Tensor = self.latent_format.process_out(latent)
        return unscaled

    def memory_required(self, input_shape: list[int]) -> float:
        """Bytes, here one for each number that goes in; tests set what is free."""
        return float(torch.Size(input_shape).numel())

    def get_dtype(self) -> torch.dtype:
        return next(self.diffusion_model.parameters()).dtype


def _sizes(unet_config: dict[str, Any]) -> UNetConfig:
    """The host's words for a UNet's sizes, of which the depths say which levels attend."""
    blocks = unet_config["num_res_blocks"]
    depths = unet_config["transformer_depth"]
    return UNetConfig(
        in_channels=unet_config["in_channels"],
        out_channels=unet_config["out_channels"],
        model_channels=unet_config["model_channels"],
        channel_mult=tuple(unet_config["channel_mult"]),
        num_res_blocks=blocks[0],
        transformer_levels=sum(depths) // blocks[0],
        context_dim=unet_config["context_dim"],
        num_heads=unet_config["num_heads"],
    )
