"""Heads on disk: weights with their configuration in the header, loaded strictly."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError
from .head import HeadConfig, LDZNetHead
from .shards import files_of
from .unet import UNetConfig
from .weights import SHARD_BYTES, read_metadata, read_weights, write_weights

CONFIG_KEY = "ldznet"
"""Where the configuration stands in the metadata of a head's files."""

FORMAT_VERSION = 1
"""Raised when older readers would misunderstand a file."""

BUILT_IN = {"miniature": Path(__file__).parent / "miniature" / "weights" / "head-ldznet"}
"""Heads that come with the package, by the name under which they are loaded."""


def save_head(
    head: LDZNetHead,
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


def load_head(
    source: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> LDZNetHead:
    """A head ready for use, in eval mode.

    Args:
        source: The name of a built-in head ("miniature"), or a file as in `read_weights`.
        device: Where it is put.
        dtype: What it computes in; None means float32, whatever the file stores.

    Raises:
        CheckpointError: The files are missing or damaged, or do not fit their configuration.
    """
    path = _locate(source)
    state, metadata = read_weights(path)
    config = _config_of(metadata, path)
    with torch.device("meta"):  # no random numbers are drawn for weights that are replaced
        head = LDZNetHead(config)
    check_fit(head.state_dict(), state, path)
    wanted = {name: tensor.to(device, dtype or torch.float32) for name, tensor in state.items()}
    head.load_state_dict(wanted, assign=True)
    return head.eval()


def read_config(source: str | os.PathLike[str]) -> HeadConfig:
    """The configuration of a head, without reading its weights; ``source`` as in `load_head`.

    Raises:
        CheckpointError: The file is missing or damaged, or holds no head.
    """
    path = _locate(source)
    return _config_of(read_metadata(path), path)


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
            unet = values.pop("unet")
            unet["channel_mult"] = tuple(unet["channel_mult"])
            values["taps"] = tuple(values["taps"])
            return HeadConfig(**values, unet=UNetConfig(**unet))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"expected the configuration of a head, got {error}: convert or save the head again"
        ) from error
    raise CheckpointError(
        f"expected a head of format {FORMAT_VERSION}, got format {version}: update ldznet"
    )


def check_fit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not exactly those of the configured head.

    Raises:
        CheckpointError: Some are missing, surplus or of another shape; the message names them.
    """
    complaints = {
        "missing": sorted(set(wanted) - set(given)),
        "surplus": sorted(set(given) - set(wanted)),
        "misshapen": sorted(
            name for name in set(wanted) & set(given) if wanted[name].shape != given[name].shape
        ),
    }
    if any(complaints.values()):
        listed = "; ".join(
            f"{len(names)} {complaint} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
            for complaint, names in complaints.items()
            if names
        )
        raise CheckpointError(
            f"expected the {len(wanted)} weights of the configured head in {path}, got {listed}: "
            "save or convert the head again"
        )


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
