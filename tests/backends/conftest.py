"""A checkpoint and a head for it, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="the library's own backbones need the extra `cli`")

from .reduced import write_checkpoint, write_head


@pytest.fixture(scope="session")
def checkpoint_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reduced SD 1.x checkpoint in the layout of LDM, in float32."""
    return write_checkpoint(tmp_path_factory.mktemp("sd1") / "sd1.safetensors")


@pytest.fixture(scope="session")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head for it."""
    return write_head(tmp_path_factory.mktemp("head") / "head.safetensors")
