"""Rows to learn from, written once, and trainings of few steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ldznet_core.data_sets import Row

from .coloured import read_jsonl
from .pace import short_runs


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """So that a test that goes on after a stop takes six steps in the place of twenty."""
    with short_runs():
        yield


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Twelve phrases of six pictures."""
    return read_jsonl(tmp_path_factory.mktemp("coloured"))
