"""The library's own backbones: the miniature, and Stable Diffusion 1.x from files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..devices import checked_device
from ..errors import CheckpointError, InputError
from ..shards import files_of
from ..taps import BLOCKS
from ..training_free import TRAINING_FREE

if TYPE_CHECKING:
    from ..backbone import Backbone
    from ..head import Head
    from ..training_free import TrainingFree
    from .turns import Turns

__all__ = ["MINIATURE", "Pair", "family_of", "load_backbone", "load_pair"]

MINIATURE = "miniature"
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_SUFFIX = ".safetensors"
_PIPELINE_PARTS = ("unet", "vae", "text_encoder")


class Pair(NamedTuple):
    """A backbone and a head, whether or not their weights are in memory yet."""

    backbone: Backbone
    head: Head | TrainingFree
    takes_turns: bool
    """Whether the UNet leaves memory when the head comes, and the other way round."""


def load_backbone(
    source: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    whole_unet: bool = False,
) -> Backbone:
    """A latent diffusion model from its files; nothing is downloaded.

    The UNet of an SD 1.x model is checked at once, but read when it is first used.

    Args:
        source: "miniature", a folder of such weights, an SD 1.x checkpoint as ``.safetensors`` in
            the layout of LDM, or the folder of a diffusers pipeline of SD 1.x.
        device: Where it is put.
        dtype: What the UNet computes in; None means float32. The miniature knows no other.
        whole_unet: Whether the UNet of an SD 1.x model shall be able to make whole passes, as for
            sampling; a probe ends after the last tap.

    Raises:
        CheckpointError: Weights are missing, damaged, or pickled.
        UnsupportedModelError: They are of another family.
        InputError: The device is not there, or the model does not know the dtype.
    """
    return _load_backbone(source, checked_device(device), dtype, whole_unet)


def load_pair(
    model: str | os.PathLike[str],
    head: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Pair:
    """A backbone and a head that share memory: on a CPU, UNet and head take turns in it.

    So an SD 1.x model needs room for one of them, not for both. Each is read when it is used, and
    again when it comes back: make all probes of several pictures before their masks
    (`Segmenter.probe_image`). On other devices both stay.

    Args:
        model: As in `load_backbone`.
        head: As in `checkpoint.load_head`.
        device: Where they work.
        dtype: What they compute in; None means float32.

    Raises:
        CheckpointError: Weights are missing, damaged, or pickled.
        UnsupportedModelError: The model is of another family than those that are known.
        InputError: The device is not there, or the model does not know the dtype.
    """
    from ..checkpoint import load_head, read_config
    from .heads import HeadOnUse
    from .turns import OnUse, Turns

    where = checked_device(device)
    if head == TRAINING_FREE:  # it reads beyond the taps, and weighs nothing
        backbone = _load_backbone(model, where, dtype, whole_unet=True)
        return Pair(backbone, load_head("training-free"), takes_turns=False)
    config = read_config(head)
    turns = Turns() if where.type == "cpu" and not _is_miniature(model) else None
    beyond = needs_whole_unet(config.taps)
    backbone = _load_backbone(model, where, dtype, whole_unet=beyond, turns=turns)
    on_use = OnUse(lambda: load_head(head, device=where, dtype=dtype), turns)
    return Pair(backbone, HeadOnUse(config, on_use), takes_turns=turns is not None)


def family_of(source: str | os.PathLike[str]) -> str:
    """The family of a model, named as for `load_backbone`, whose weights are not read."""
    return MINIATURE if _is_miniature(source) else "sd1"


def needs_whole_unet(taps: Sequence[int]) -> bool:
    """Whether a head with these taps reads more of a UNet than the paper's, which ends a pass."""
    return max(taps, default=0) > max(BLOCKS)


def _load_backbone(
    source: str | os.PathLike[str],
    device: torch.device,
    dtype: torch.dtype | None,
    whole_unet: bool,
    turns: Turns | None = None,
) -> Backbone:
    if _is_miniature(source):
        return _load_miniature(source, device, dtype)
    from .layouts import find_in_folder, find_in_ldm_file
    from .networks import check_unet, load_encoder, load_text_encoder, load_unet
    from .stable_diffusion import StableDiffusionBackbone
    from .turns import OnUse

    path = _checked(Path(source))
    parts = find_in_folder(path) if path.is_dir() else find_in_ldm_file(path)
    check_unet(parts)
    unet = OnUse(
        lambda: load_unet(parts, device=device, dtype=dtype or torch.float32, whole=whole_unet),
        turns,
    )
    return StableDiffusionBackbone(
        load_encoder(parts, device=device), load_text_encoder(parts, device=device), unet
    )


def _load_miniature(
    source: str | os.PathLike[str], device: torch.device, dtype: torch.dtype | None
) -> Backbone:
    from ..miniature import load_miniature

    if dtype not in (None, torch.float32):
        raise InputError(
            f"expected float32 for the miniature, got {str(dtype).removeprefix('torch.')}: it is "
            "small enough to do without others"
        )
    return load_miniature(device, folder=None if str(source) == MINIATURE else Path(source))


def _is_miniature(source: str | os.PathLike[str]) -> bool:
    return str(source) == MINIATURE or bool(files_of(Path(source) / "unet"))


def _checked(path: Path) -> Path:
    """The path, if it may be an SD 1.x model."""
    if path.suffix in _PICKLES:
        raise CheckpointError(
            f"expected a checkpoint as {_SUFFIX}, got the pickle {path}: load it once in a program "
            f"that you trust it to, and save its weights as {_SUFFIX}"
        )
    if path.is_dir() and not all((path / part).is_dir() for part in _PIPELINE_PARTS):
        raise CheckpointError(
            f"expected weights of the miniature in {path}, or a diffusers pipeline with "
            f"{', '.join(_PIPELINE_PARTS)}, got neither: name another folder"
        )
    if not path.is_dir() and not path.is_file():
        raise CheckpointError(
            f'expected "{MINIATURE}", a {_SUFFIX} checkpoint of SD 1.x or a folder, got {path}, '
            "which is not there: check the path"
        )
    return path
