"""A part of the miniature on disk: half-precision weights with a configuration in the header."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..sizes import sizes_read
from ..stored import check_fit
from ..weights import read_metadata, read_weights, write_weights

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the weights that come with the package."""

ANOTHER_FOLDER = "name the folder that `ldznet train` has written"
"""What helps against parts of something else."""

_CONFIG_KEY, _TRAINING_KEY = "miniature", "training"

Network = TypeVar("Network", bound=nn.Module)


def save_part(
    state: Mapping[str, Tensor], path: Path, config: Mapping[str, Any], provenance: str
) -> None:
    """Write a part's weights, what builds it, and where it comes from in words."""
    halved = {
        name: value.half() if value.is_floating_point() else value for name, value in state.items()
    }
    write_weights(halved, path, {_CONFIG_KEY: json.dumps(config), _TRAINING_KEY: provenance})


def load_part(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of a part in float32, and what builds it.

    Raises:
        CheckpointError: The files are missing, damaged, or of something else.
    """
    state, metadata = read_weights(path)
    if _CONFIG_KEY not in metadata:
        raise CheckpointError(
            f"expected a part of a miniature in {path}, got other weights: {ANOTHER_FOLDER}"
        )
    floats = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    with part_read(path):
        config = dict(json.loads(metadata[_CONFIG_KEY]))
    return floats, config


def training_of(path: Path) -> str:
    """What a part's file says in words of where its weights come from.

    Raises:
        CheckpointError: The files are missing or damaged.
    """
    return read_metadata(path).get(_TRAINING_KEY, "")


def part_read(path: Path) -> AbstractContextManager[None]:
    """`sizes_read` of a part's own."""
    return sizes_read(
        f"expected a miniature's {path.name} in {path.parent}, got a part of something else",
        ANOTHER_FOLDER,
    )


def filled(
    build: Callable[[], Network],
    state: Mapping[str, Tensor],
    path: Path,
    weighted: Callable[[Network], nn.Module] = lambda network: network,
) -> Network:
    """A network with its weights, frozen and in eval mode.

    Args:
        build: Makes it, where fresh weights take neither memory nor time.
        state: The weights.
        path: Where they come from, for messages.
        weighted: The module of the network that they belong to.

    Raises:
        CheckpointError: It cannot be built, or they are not exactly its own.
    """
    with part_read(path), torch.device("meta"):
        network = build()
    inner = weighted(network)
    remedy = f"{ANOTHER_FOLDER}, or train it anew"
    check_fit(inner.state_dict(), state, f"the configured part in {path}", remedy)
    inner.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)
