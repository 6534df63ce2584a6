"""A training's saved state on disk: from the first save on, a whole one is there at any moment."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import InputError

_STATE, _FRESH, _EARLIER = "state", "state.new", "state.old"


def find_state(folder: Path) -> Path | None:
    """The folder of a stage's saved state, if there is any.

    Args:
        folder: The stage's. Where a stop came between the two names of a new state, the earlier
            one is found.
    """
    candidates = (folder / _STATE, folder / _EARLIER)
    return next((each for each in candidates if each.is_dir()), None)


def checked_state(folder: Path, *, resume: bool) -> Path | None:
    """The saved state to go on with, or None for a new run.

    Args:
        folder: The stage's.
        resume: Whether the run is to go on.

    Raises:
        InputError: There is a state but no wish to go on, or the other way round.
    """
    state = find_state(folder)
    if state and not resume:
        raise InputError(
            f"expected a new run, found a saved state in {folder}: add --resume to go on with it, "
            "or choose another --folder"
        )
    if resume and not state:
        raise InputError(f"expected a saved state in {folder}, found none: leave out --resume")
    return state


def fresh_state(folder: Path) -> Path:
    """Where a new state is to be written, before `publish_state`; nothing may be there."""
    return folder / _FRESH


def publish_state(folder: Path) -> None:
    """Put the new state, which is whole, in the place of the one before."""
    state, earlier = folder / _STATE, folder / _EARLIER
    if state.is_dir():
        if earlier.is_dir():
            shutil.rmtree(earlier)
        state.rename(earlier)
    (folder / _FRESH).rename(state)
    shutil.rmtree(earlier, ignore_errors=True)
