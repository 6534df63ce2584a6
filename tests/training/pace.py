"""Trainings as short as can be that still stop, save and go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

EACH = 3
"""Steps from one look at the clock to the next."""


@contextmanager
def short_runs() -> Iterator[None]:
    """Let trainings look at the clock, log and stop after so few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ldznet_core.training.loop.LOOKS_EACH", EACH)
        yield
