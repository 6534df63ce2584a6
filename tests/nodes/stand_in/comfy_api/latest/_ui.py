"""Imitates comfy_api/latest/_ui.py of ComfyUI 0.8.0: a preview under a node."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from PIL import Image
from torch import Tensor


class PreviewImage:
    """Pictures ``(B, H, W, 3)`` in [0, 1] written to the temporary folder."""

    def __init__(self, image: Tensor, animated: bool = False, cls: Any = None) -> None:
        self.animated = animated
        self.values = [_save(picture) for picture in image]

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (self.animated,)}


def _save(picture: Tensor) -> dict[str, str]:
    name = f"ComfyUI_temp_{uuid.uuid4().hex[:8]}.png"
    levels = np.clip(255.0 * picture.cpu().numpy(), 0, 255).astype(np.uint8)
    Image.fromarray(levels).save(Path(folder_paths.get_temp_directory()) / name)
    return {"filename": name, "subfolder": "", "type": "temp"}
