"""A part of the miniature on disk: half-precision weights with a configuration in the header."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, LDZNetError
from ..stored import check_fit
from ..weights import read_weights, write_weights

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the weights that come with the package."""

_CONFIG_KEY = "miniature"

Network = TypeVar("Network", bound=nn.Module)


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
    floats = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    with sizes_read(path):
        config = dict(json.loads(metadata[_CONFIG_KEY]))
    return floats, config


@contextmanager
def sizes_read(path: Path) -> Iterator[None]:
    """Turns the failure of sizes that no network can have into a sentence.

    Raises:
        CheckpointError: The block raised what libraries raise on such sizes.
    """
    try:
        yield
    except LDZNetError:
        raise
    except Exception as error:  # libraries have errors of their own for this
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"expected a miniature's {path.name} in {path.parent}, got a part of something else "
            f"({reason:.200}): name the folder that `ldznet train` has written"
        ) from error


def whole(value: object, largest: int) -> int:
    """A size from a file, which may say anything.

    Raises:
        ValueError: It is no whole number from 1 to the largest.
    """
    if type(value) is not int or not 0 < value <= largest:
        raise ValueError(f"{str(value)[:40]!r} as a size, where 1 to {largest} are known")
    return value


def filled(
    build: Callable[[], Network],
    state: Mapping[str, Tensor],
    path: Path,
    weighted: Callable[[Network], nn.Module] = lambda network: network,
) -> Network:
    """A network with its weights, frozen and in eval mode.

    Args:
        build: Makes it with fresh weights; it is first tried where these take no memory.
        state: The weights.
        path: Where they come from, for messages.
        weighted: The module of the network that they belong to.

    Raises:
        CheckpointError: It cannot be built, or they are not exactly its own.
    """
    with sizes_read(path), torch.device("meta"):
        wanted = weighted(build()).state_dict()
    remedy = "name the folder that `ldznet train` has written, or train it anew"
    check_fit(wanted, state, f"the configured part in {path}", remedy)
    with sizes_read(path):
        network = build()
    weighted(network).load_state_dict(state)
    return network.eval().requires_grad_(False)
