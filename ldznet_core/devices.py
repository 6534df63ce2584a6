"""The device that a caller names, if this machine has it."""

from __future__ import annotations

import torch

from .errors import InputError, first_line


def checked_device(device: str | torch.device) -> torch.device:
    """The device by that name.

    >>> checked_device("cpu")
    device(type='cpu')

    Raises:
        InputError: There is none.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:  # as torch without CUDA does
        raise InputError(
            f"expected a device of this machine, such as cpu, got {device}: {first_line(error)}"
        ) from error
    return found
