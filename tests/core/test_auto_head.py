from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ldznet_core import CheckpointError, load_head, read_config, save_head
from ldznet_core.auto_head import family_of_head, fitting_head


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads for two families, and a file that is none."""
    folder = tmp_path_factory.mktemp("heads")
    head = load_head("miniature-compact")
    for name, family in {"first": "sd2", "second": "sd1", "third": "sd1"}.items():
        head.config = replace(head.config, family=family)
        save_head(head, folder / name)
    (folder / "damaged.safetensors").write_bytes(b"nothing")
    return folder


def test_the_miniature_s_own_is_the_compact_one() -> None:
    assert read_config(fitting_head("miniature")).kind == "compact"


def test_the_first_that_fits_is_taken_and_damaged_ones_are_passed_over(folder: Path) -> None:
    names = ("damaged", "gone", "first", "second", "third")
    assert fitting_head("sd1", names, folder.joinpath) == "second"
    assert fitting_head("sdxl", names, folder.joinpath) == "training-free"


def test_a_name_that_cannot_be_located_is_of_no_family() -> None:
    def locate(name: str) -> Path:
        raise CheckpointError(f"expected a file, got {name}")

    assert family_of_head("any", locate) == ""


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_without_one_attention_is_read(family: str) -> None:
    assert fitting_head(family) == "training-free"
