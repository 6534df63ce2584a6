"""The pack in a stand-in for ComfyUI, for as long as one file's tests run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .loading import Pack, host, loaded_pack


@pytest.fixture(scope="module")
def pack(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    """The pack behind the host's door."""
    with host(tmp_path_factory.mktemp("comfyui")), loaded_pack(root) as loaded:
        yield loaded
