"""The authors' checkpoint as a head of ours: what it needs is kept, all else left behind.

The layout is that of the class `LatentSeg` (koutilya-pnvr/LD-ZNet@3d28f76): a latent diffusion
model whose UNet is LD-ZNet, with its own VAE and CLIP, with a second, frozen Stable Diffusion, and
with moving averages ("EMA") of the UNet's weights, with which the authors infer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from .checkpoint import CONFIG_KEY, encode_config
from .errors import CheckpointError, InputError, first_line
from .frames import STRIDE
from .head import HeadConfig, LDZNetHead, block_sizes
from .shards import shard_file, stem_of
from .sources import open_checkpoint
from .stored import check_fit
from .unet import UNetConfig, infer_unet_config
from .weights import shown, write_weights

Weights = Literal["ema", "raw"]
"""The moving averages, with which the authors infer, or the weights of the last training step."""

OnProgress = Callable[[str, int, int], None]
"""Called with a part of the work, how much of it is done, and how much there is."""

HEADS = 8
"""Attention heads of the published network, which its weights do not tell."""

PROVENANCE_KEY = "provenance"
"""Where a converted head's metadata tell its source, and what was kept and dropped, as JSON."""

_PREFIXES: dict[Weights, str] = {"raw": "model.diffusion_model.", "ema": "model_ema."}
_LEFT = {
    "first_stage_model.": "VAE",
    "cond_stage_model.": "CLIP",
    "sd_features_stage_model.": "frozen Stable Diffusion",
}
_REST = "schedule and counters"
_GROUPS = {**{prefix: what for what, prefix in _PREFIXES.items()}, **_LEFT}
_LISTED = 40
_PIECE = 2**24
_BUFFERS = {
    *("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod"),
    *("sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod"),
    *("sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
    *("posterior_variance", "posterior_log_variance_clipped"),
    *("posterior_mean_coef1", "posterior_mean_coef2", "scale_factor", "logvar"),
}
_EMA_COUNTERS = {"model_ema.decay", "model_ema.num_updates"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of a checkpoint."""

    file: Path
    """The head, as `load_head` takes it."""
    config: HeadConfig
    weights: Weights
    """Which set was kept."""
    notice: str
    """What the user should know, such as that another set was kept than asked for; or nothing."""
    kept: int
    """Tensors of the head."""
    dropped: dict[str, int]
    """Tensors that were left behind, by what they are of."""
    source_sha256: str


def convert_checkpoint(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    weights: Weights = "ema",
    dtype: torch.dtype = torch.float16,
    positional_tables: Literal["shape", "count"] = "shape",
    on_progress: OnProgress | None = None,
) -> Conversion:
    """Write the head of a published checkpoint as one safetensors file.

    The whole checkpoint is never in memory: the head's tensors are read one by one.

    Args:
        source: ``LDZNet_txt2mask.ckpt``, or a file of its layout, also as ``.safetensors``.
        target: Where the head goes; nothing is there until it is complete.
        weights: The set to keep. A file without EMA gives the raw one, and a notice.
        dtype: What the head is stored in.
        positional_tables: Of the head's configuration.
        on_progress: Told of each part of the work ("tensors", then "digest") how much of how much
            is done.

    Raises:
        CheckpointError: The source is missing or damaged, or not of this layout: the message lists
            the keys that are missing or surplus. Or the target cannot be written.
        InputError: An option is none of those named.
    """
    _check_options(weights, dtype, positional_tables)
    path = Path(source)
    _check_target(path, target)
    tensors = open_checkpoint(path)
    groups = _sort(tensors, path)
    chosen, notice = _choose(groups, weights, path)
    keys = {name: _key(name, chosen) for name in _official_names()}
    _check_keys(set(keys.values()), groups[chosen], path)
    config = _fitting_config({name: tensors.shapes[key] for name, key in keys.items()}, path)
    tell = on_progress or _no_progress
    state = {}
    for done, (name, key) in enumerate(keys.items(), start=1):
        state[name] = _cast(tensors[key], dtype, name)
        tell("tensors", done, len(keys))
    digest = _sha256(path, tell)
    config = dataclasses.replace(
        config,
        positional_tables=positional_tables,
        training=f"by LD-ZNet's authors; the {chosen} weights of {path.name}, sha256 {digest}",
    )
    dropped = {what: len(found) for what, found in groups.items() if found and what != chosen}
    provenance = {
        "source": path.name,
        "source_sha256": digest,
        "kept": {chosen: len(keys)},
        "dropped": dropped,
    }
    metadata = {
        CONFIG_KEY: encode_config(config),
        PROVENANCE_KEY: json.dumps(provenance, sort_keys=True),
    }
    (file,) = write_weights(state, target, metadata, max_shard_bytes=None)
    return Conversion(file, config, chosen, notice, len(keys), dropped, digest)


def _check_options(weights: Weights, dtype: torch.dtype, positional_tables: str) -> None:
    if weights not in ("ema", "raw"):
        raise InputError(f"expected the weights 'ema' or 'raw', got {weights!r}: choose one")
    if dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise InputError(f"expected float16, bfloat16 or float32, got {dtype}: choose one of them")
    if positional_tables not in ("shape", "count"):
        raise InputError(
            f"expected positional tables by 'shape' or 'count', got {positional_tables!r}: choose "
            "one"
        )


def _check_target(source: Path, target: str | os.PathLike[str]) -> None:
    if shard_file(stem_of(target), 1, 1).resolve() == source.resolve():
        raise InputError(f"expected another file than {source} to write, got the same: name one")


@cache
def _official_names() -> tuple[str, ...]:
    """The names of the head's weights; the layout is one for all sizes."""
    with torch.device("meta"):
        head = LDZNetHead(HeadConfig(family="sd1", unet=UNetConfig(out_channels=1)))
    return tuple(head.state_dict())


def _sort(names: Iterable[str], path: Path) -> dict[str, set[str]]:
    """The names of a checkpoint by what they are of.

    Raises:
        CheckpointError: Some are of nothing that is known.
    """
    groups: dict[str, set[str]] = {what: set() for what in ("raw", "ema", *_LEFT.values(), _REST)}
    unknown = []
    for name in names:
        what = next((what for prefix, what in _GROUPS.items() if name.startswith(prefix)), None)
        if name in _BUFFERS or name in _EMA_COUNTERS:
            what = _REST
        if what is None:
            unknown.append(name)
        else:
            groups[what].add(name)
    if unknown:
        raise _misfit(path, missing=[], surplus=unknown)
    return groups


def _choose(groups: Mapping[str, set[str]], weights: Weights, path: Path) -> tuple[Weights, str]:
    """The set to keep, and what to tell the user of it."""
    if groups[weights]:
        return weights, ""
    if weights == "ema" and groups["raw"]:
        return "raw", f"{path.name} has no EMA weights, so the raw ones were taken"
    other = (
        "it has EMA weights: ask for those" if groups["ema"] else "choose the authors' checkpoint"
    )
    raise CheckpointError(
        f"expected the {weights} weights of LD-ZNet in {path} (names that begin with "
        f"{_PREFIXES[weights]}), got none: {other}"
    )


def _key(name: str, weights: Weights) -> str:
    """What a weight of the head is called in the checkpoint; EMA names have lost their dots."""
    official = f"{_PREFIXES['raw'].removeprefix('model.')}{name}"  # diffusion_model....
    return f"model.{official}" if weights == "raw" else "model_ema." + official.replace(".", "")


def _check_keys(wanted: set[str], given: set[str], path: Path) -> None:
    missing, surplus = sorted(wanted - given), sorted(given - wanted)
    if missing or surplus:
        raise _misfit(path, missing, surplus)


def _fitting_config(shapes: Mapping[str, tuple[int, ...]], path: Path) -> HeadConfig:
    """The configuration of a head that has exactly these shapes.

    Raises:
        CheckpointError: There is none, or the file is too small to hold as many values.
    """
    try:
        with torch.device("meta"):
            state = {name: torch.empty(shape) for name, shape in shapes.items()}
            config = _infer_config(state)
            wanted = LDZNetHead(config).state_dict()
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"expected weights in the shapes of an LD-ZNet in {path}, got others "
            f"({first_line(error)}): fetch the checkpoint again"
        ) from error
    check_fit(wanted, state, f"the LD-ZNet in {path}", remedy="fetch the checkpoint again")
    values, size = sum(tensor.numel() for tensor in state.values()), path.stat().st_size
    if values > size:
        raise CheckpointError(
            f"expected the {values} values of an LD-ZNet in {path}, got a file of {size} bytes: "
            "fetch the checkpoint again"
        )
    return config


def _infer_config(state: Mapping[str, Tensor]) -> HeadConfig:
    """The head that these weights are of; it was trained on squares whose side the pools tell."""
    unet = infer_unet_config(state, HEADS)
    table = state["input_blocks.8.1.attentionpool2D.positional_embedding"]
    side = math.isqrt(table.shape[1] - 1)
    downscale = block_sizes(unet)[6].downscale
    return HeadConfig(
        family="sd1",
        unet=unet,
        image_side=STRIDE * downscale * side,
        template="a photo of a {}.",
    )


def _cast(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    if not tensor.is_floating_point():
        raise CheckpointError(
            f"expected floating-point weights, got {tensor.dtype} in {name}: convert the "
            "checkpoint as it was published, not a quantised one"
        )
    cast = tensor.to(dtype)
    if not bool(cast.isfinite().all()):
        raise CheckpointError(
            f"expected finite weights in {dtype}, got NaN or infinity in {name}: convert to "
            "torch.float32, and if that fails too fetch the checkpoint again"
        )
    return cast


def _sha256(path: Path, tell: OnProgress) -> str:
    digest, size, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            tell("digest", done, size)
    return digest.hexdigest()


def _no_progress(part: str, done: int, size: int) -> None:
    """What is told when nobody asked."""


def _misfit(path: Path, missing: Sequence[str], surplus: Sequence[str]) -> CheckpointError:
    found = [
        f"{len(names)} {complaint} ({_listed(names)})"
        for complaint, names in (("missing", missing), ("surplus", surplus))
        if names
    ]
    return CheckpointError(
        f"expected the weights of the authors' LD-ZNet in {path}, got {'; '.join(found)}: convert "
        "the checkpoint as they publish it"
    )


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shown(name) for name in names[:_LISTED]) + more
