"""The models that commands name: a backbone and a head."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import torch

from ..auto_head import AUTO_HEAD, fitting_head
from ..backends import MINIATURE, Pair, family_of, load_pair
from ..checkpoint import load_head
from ..errors import UnsupportedModelError
from ..head import AnyHead
from ..miniature import Miniature, load_miniature

HEAD = 'name or file of the head; "training-free" for none; "auto" for the best that is built in'
"""What the flag --head says."""

DType: TypeAlias = Literal["float32", "float16", "bfloat16"]


def chosen_head(model: str, head: str) -> str:
    """The head that is meant: itself, or for "auto" the best for the model that is built in.

    Args:
        model: As in `load_backbone`.
        head: A built-in head's name, a file, "training-free", or "auto".
    """
    return fitting_head(family_of(model)) if head == AUTO_HEAD else head


def load_models(model: str, head: str) -> tuple[Miniature, AnyHead]:
    """The miniature and a trained head of these names, for commands that measure.

    Args:
        model: As in `load_painter`.
        head: A built-in head's name, or a file.

    Raises:
        UnsupportedModelError: The model is of another kind.
        CheckpointError: Weights are missing or damaged.
    """
    return load_painter(model), load_head(head)


def load_painter(model: str) -> Miniature:
    """A model that commands can paint with.

    Args:
        model: "miniature", or a folder with weights of its kind.

    Raises:
        UnsupportedModelError: It is of another kind.
        CheckpointError: Weights are missing or damaged.
    """
    if model == MINIATURE:
        return load_miniature()
    folder = Path(model)
    if not folder.is_dir():
        raise UnsupportedModelError(
            f'expected the model "{MINIATURE}" or a folder of such weights, got {model!r}: '
            "checkpoints of Stable Diffusion are for `ldznet segment`"
        )
    return load_miniature(folder=folder)


def load_segmenting_pair(
    model: str, head: str, device: str | None, dtype: DType, index_on_machine: int
) -> Pair:
    """The backbone and the head of these names, for masks of any model that is known.

    Args:
        model: As in `load_backbone`.
        head: A built-in head's name, or a file.
        device: Where they work; None is a CUDA device where there is one, else the CPU.
        dtype: What they compute in.
        index_on_machine: Of this process, which chooses among several CUDA devices.

    Raises:
        LDZNetError: As `load_pair`.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and torch.cuda.device_count() > 1:
        device = f"cuda:{index_on_machine % torch.cuda.device_count()}"
    return load_pair(model, head, device=device, dtype=getattr(torch, dtype))
