"""A part of the miniature on disk: half-precision weights with a configuration in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import CheckpointError
from ..weights import read_weights, write_weights

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the weights that come with the package."""

_CONFIG_KEY = "miniature"


def save_part(
    state: Mapping[str, Tensor], path: Path, config: Mapping[str, Any], provenance: str
) -> None:
    """Write a part's weights, what builds it, and where it comes from in words."""
    halved = {
        name: value.half() if value.is_floating_point() else value for name, value in state.items()
    }
    write_weights(halved, path, {_CONFIG_KEY: json.dumps(config), "training": provenance})


def load_part(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of a part in float32, and what builds it.

    Raises:
        CheckpointError: The files are missing, damaged, or of something else.
    """
    state, metadata = read_weights(path)
    if _CONFIG_KEY not in metadata:
        raise CheckpointError(
            f"expected a part of a miniature in {path}, got other weights: name the folder that "
            "`ldznet train` has written"
        )
    whole = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    return whole, json.loads(metadata[_CONFIG_KEY])


def fill(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Give a network its weights, freeze it and put it into eval mode.

    Raises:
        CheckpointError: They are not exactly the network's own.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"expected the weights of the configured part in {path}, got others: train it anew "
            f"({error})"
        ) from error
    network.eval().requires_grad_(False)
