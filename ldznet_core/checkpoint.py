"""Heads on disk: weights with their configuration in the header, loaded strictly."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

import torch

from .devices import checked_device
from .errors import CheckpointError, InputError
from .head import AnyHead, HeadConfig, build_head
from .shards import files_of, find_files
from .sizes import whole
from .stored import check_fit, list_weights, read_tensors
from .taps import BLOCKS
from .training_free import TRAINING_FREE, TrainingFree
from .unet import UNetConfig
from .weights import SHARD_BYTES, read_metadata, read_weights, write_weights

CONFIG_KEY = "ldznet"
"""Where the configuration stands in the metadata of a head's files."""

FORMAT_VERSION = 1
"""Raised when older readers would misunderstand a file."""

_LARGEST = {
    "in_channels": 64,
    "out_channels": 64,
    "model_channels": 4096,
    "channel_mult": 64,
    "num_res_blocks": 8,
    "transformer_levels": 8,
    "context_dim": 8192,
    "num_heads": 256,
    "taps": 1000,
    "widths": 4096,
    "image_side": 8192,
}
"""Sizes beyond which a configuration is taken for damaged; those of SD 1.x are far below."""

_LONGEST = 64

_WEIGHTS = Path(__file__).parent / "miniature" / "weights"

BUILT_IN = {"miniature-compact": _WEIGHTS / "head-compact", "miniature": _WEIGHTS / "head-ldznet"}
"""Heads that come with the package, by the name under which they are loaded; the best first."""


def save_head(
    head: AnyHead,
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int | None = SHARD_BYTES,
) -> list[Path]:
    """Write a head and its configuration; the files written.

    Args:
        head: On any device; it is left as it is.
        path: As in `write_weights`.
        dtype: What the weights are stored in; None keeps theirs.
        max_shard_bytes: Largest file; None writes a single one.

    Raises:
        CheckpointError: The files cannot be written.
    """
    state = {name: tensor.to(dtype or tensor.dtype) for name, tensor in head.state_dict().items()}
    metadata = {CONFIG_KEY: encode_config(head.config)}
    return write_weights(state, path, metadata, max_shard_bytes)


def save_config(config: HeadConfig, source: str | os.PathLike[str]) -> None:
    """Give a stored head another configuration, in place; all else in its files stays as it is.

    Args:
        config: Of a head with the same weights, such as one with other thresholds.
        source: As in `load_head`.

    Raises:
        CheckpointError: The files are missing or damaged, hold no head, or cannot be written.
    """
    path = _locate(source)
    read_config(path)
    state, metadata = read_weights(path)
    largest = SHARD_BYTES if len(find_files(path)) > 1 else None
    write_weights(state, path, {**metadata, CONFIG_KEY: encode_config(config)}, largest)


@overload  # a name of its own among all strings
def load_head(source: Literal["training-free"]) -> TrainingFree: ...  # type: ignore[overload-overlap]
@overload
def load_head(
    source: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> AnyHead: ...
def load_head(
    source: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> AnyHead | TrainingFree:
    """A head ready for use, in eval mode; on the way to it no second copy is held.

    Args:
        source: The name of a built-in head ("miniature"), a file as in `read_weights`, or
            "training-free" for none: the model's own attention is read instead.
        device: Where it is put.
        dtype: What it computes in; None means float32, whatever the file stores.

    Raises:
        CheckpointError: The files are missing or damaged, or do not fit their configuration.
        InputError: This machine has no such device, or the dtype is none to compute in.
    """
    where = checked_device(device)
    if dtype is not None and not _computes(dtype):
        raise InputError(
            f"expected a dtype to compute in, such as torch.float16, got {dtype!r}: choose one"
        )
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f'expected the name or the file of a head, got {source!r}: try "miniature"'
        )
    if source == TRAINING_FREE:
        return TrainingFree()
    with torch.device("meta"):  # no random numbers are drawn for weights that are replaced
        head = build_head(read_config(source))
    path = _locate(source)
    stored = list_weights(path)
    check_fit(
        head.state_dict(),
        stored,
        f"the configured head in {path}",
        remedy="save or convert the head again",
    )
    state = read_tensors(stored, device=where, dtype=dtype or torch.float32)
    head.load_state_dict(state, assign=True)
    return head.eval()


def read_config(source: str | os.PathLike[str]) -> HeadConfig:
    """The configuration of a head, without reading its weights; ``source`` as in `load_head`.

    Raises:
        CheckpointError: The file is missing or damaged, or holds no head.
    """
    path = _locate(source)
    return _config_of(read_metadata(path), path)


def blocks_of_built_in(family: str) -> tuple[int, ...]:
    """The blocks to listen to for every built-in head of a family, and for the paper's head."""
    configs = [read_config(name) for name in BUILT_IN]
    read = {block for each in configs if each.family == family for block in each.taps}
    return tuple(sorted(read.union(BLOCKS)))


def encode_config(config: HeadConfig) -> str:
    """The configuration as JSON, with the version of this format."""
    return json.dumps({"format": FORMAT_VERSION, **dataclasses.asdict(config)}, sort_keys=True)


def decode_config(text: str) -> HeadConfig:
    """The configuration that `encode_config` wrote.

    Raises:
        CheckpointError: It is of a newer format, or says something that no head can be built from.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        version = values.pop("format")
        if version == FORMAT_VERSION:
            unet = _unet_config(values.pop("unet"))
            taps = tuple(_whole(values.pop("taps"), "taps"))
            _whole([values.get("image_side", 8)], "image_side")
            if not all(isinstance(values.get(name, ""), str) for name in ("family", "training")):
                raise ValueError("names that are no texts")
            widths = tuple(_whole(values.pop("widths", []), "widths"))
            return HeadConfig(**values, taps=taps, unet=unet, widths=widths)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"expected the configuration of a head, got {error!s:.300}: convert or save the head "
            "again"
        ) from error
    raise CheckpointError(
        f"expected a head of format {FORMAT_VERSION}, got format {version!s:.40}: update ldznet"
    )


def _unet_config(values: dict[str, Any]) -> UNetConfig:
    """Sizes from which a network can be built, and in no time: a file may say anything.

    Raises:
        ValueError: They are none.
    """
    multiples = _whole(values.pop("channel_mult"), "channel_mult")
    for name, value in values.items():
        _whole([value], name)
    config = UNetConfig(**values, channel_mult=tuple(multiples))
    channels = [config.model_channels * multiple for multiple in multiples]
    if not channels or any(each % 32 or each % config.num_heads for each in channels):
        raise ValueError(f"levels of {channels} channels for {config.num_heads} attention heads")
    return config


def _whole(values: Any, name: str) -> list[int]:
    """A list of sizes.

    Raises:
        ValueError: One of them is no whole number from 1 to what such networks have.
    """
    largest = _LARGEST[name]
    if not isinstance(values, list) or len(values) > _LONGEST:
        raise ValueError(f"no short list as {name}")
    return [whole(value, largest, name) for value in values]


def _locate(source: str | os.PathLike[str]) -> Path:
    if str(source) in BUILT_IN:
        return BUILT_IN[str(source)]
    path = Path(source)
    if path.name == str(source) and not path.suffix and not files_of(path):
        raise CheckpointError(
            f"expected a file or one of the heads {', '.join(BUILT_IN)}, got {str(source)!r}: "
            "check the name"
        )
    return path


def _config_of(metadata: Mapping[str, str], path: Path) -> HeadConfig:
    if CONFIG_KEY not in metadata:
        raise CheckpointError(
            f"expected a head with its configuration in {path}, got other weights: "
            "run `ldznet convert` on the authors' checkpoint, or choose another file"
        )
    return decode_config(metadata[CONFIG_KEY])


def _computes(dtype: object) -> bool:
    """Whether something is a dtype of real numbers; a caller without types may give a word."""
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point
