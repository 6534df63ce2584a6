"""The models that commands name: a backbone and a head."""

from __future__ import annotations

from pathlib import Path

from ..checkpoint import load_head
from ..errors import UnsupportedModelError
from ..head import LDZNetHead
from ..miniature import Miniature, load_miniature

MINIATURE = "miniature"


def load_models(model: str, head: str) -> tuple[Miniature, LDZNetHead]:
    """The backbone and the head of these names.

    Args:
        model: "miniature", or a folder with weights of its kind.
        head: A built-in head's name, or a file.

    Raises:
        UnsupportedModelError: The model is of another kind.
        CheckpointError: Weights are missing or damaged.
    """
    if model == MINIATURE:
        return load_miniature(), load_head(head)
    folder = Path(model)
    if not folder.is_dir():
        raise UnsupportedModelError(
            f'expected the model "{MINIATURE}" or a folder of such weights, got {model!r}: '
            "checkpoints of Stable Diffusion are not read yet"
        )
    return load_miniature(folder=folder), load_head(head)
