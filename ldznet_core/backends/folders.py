"""The folder of a diffusers pipeline: a subfolder for each part, with its configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, UnsupportedModelError
from ..stored import StoredTensor, list_tensors
from ..unet import UNet, UNetConfig
from ..unet.diffusers_keys import to_diffusers

_SHARD = re.compile(r"-\d+-of-\d+")
_VARIANTS = ("", ".fp16", ".bf16")  # in the order of preference


class PipelineFolder:
    """The parts of an SD 1.x pipeline, by their headers and configurations."""

    def __init__(self, path: Path) -> None:
        """Read the configurations.

        Raises:
            CheckpointError: One is missing, or no JSON.
            UnsupportedModelError: It is of another family than SD 1.x.
        """
        self._path = path
        unet, text, vae = (self._config(part) for part in ("unet", "text_encoder", "vae"))
        self._refuse_other_families(unet)
        heads = unet.get("num_attention_heads") or unet.get("attention_head_dim", 8)
        self.unet_heads = self._number(heads, "attention heads of the UNet")
        heads = text.get("num_attention_heads", 12)
        self.text_heads = self._number(heads, "attention heads of the text encoder")
        self.text_activation = str(text.get("hidden_act", "quick_gelu"))
        factor = vae.get("scaling_factor", 0.18215)
        self.scaling_factor = self._number(factor, "scaling factor of the VAE", float)

    def tensors(self, part: str) -> dict[str, StoredTensor]:
        """The weights of a part, in one file or in shards; without a variant where there is one.

        Raises:
            CheckpointError: There are none, or one is damaged.
        """
        folder = self._path / part
        sets: dict[str, list[Path]] = {}
        for file in sorted(folder.glob("*.safetensors")):
            sets.setdefault(_SHARD.sub("", file.stem), []).append(file)
        names = [
            f"{stem}{end}" for end in _VARIANTS for stem in ("diffusion_pytorch_model", "model")
        ]
        chosen = next((sets[name] for name in names if name in sets), None)
        if chosen is None:
            pickles = ", ".join(file.name for file in sorted(folder.glob("*.bin")))
            raise CheckpointError(
                f"expected weights as safetensors in {folder}, got {pickles or 'none'}: "
                "save the pipeline with safe_serialization=True"
            )
        return {name: tensor for file in chosen for name, tensor in list_tensors(file).items()}

    def unet(self) -> dict[str, StoredTensor]:
        """The weights of the UNet by LDM's names; what has none keeps its own.

        Raises:
            CheckpointError: As `tensors`.
        """
        with torch.device("meta"):
            state = UNet(UNetConfig()).state_dict()
        ours = dict(zip(to_diffusers(state, UNetConfig()), state, strict=True))
        return {ours.get(name, name): tensor for name, tensor in self.tensors("unet").items()}

    def _config(self, part: str) -> dict[str, Any]:
        file = self._path / part / "config.json"
        try:
            config = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"expected the configuration of a pipeline's part in {file}, got {error}: "
                "name the folder of an SD 1.x pipeline"
            ) from error
        if not isinstance(config, dict):
            raise CheckpointError(
                f"expected an object in {file}, got {config!r:.40}: copy it again"
            )
        return config

    def _refuse_other_families(self, unet: dict[str, Any]) -> None:
        signs = {"addition_embed_type": "SDXL", "use_linear_projection": "SD 2.x or later"}
        for sign, family in signs.items():
            if unet.get(sign):
                raise UnsupportedModelError(
                    f"expected a pipeline of SD 1.x in {self._path}, got one with "
                    f"{sign}={unet[sign]!r} ({family}): take an SD 1.x model"
                )

    def _number(self, value: Any, what: str, kind: type[Any] = int) -> Any:
        is_number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        if not is_number or value <= 0:
            raise CheckpointError(
                f"expected a number above 0 as {what} in {self._path}, got {value!r:.40}: "
                "take an SD 1.x model"
            )
        return value
