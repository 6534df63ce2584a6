"""Rows to learn from, written once."""

from __future__ import annotations

import pytest

from ldznet_core.data_sets import Row

from .coloured import read_jsonl


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Twelve phrases of six pictures."""
    return read_jsonl(tmp_path_factory.mktemp("coloured"))
