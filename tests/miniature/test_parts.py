"""A folder of the miniature's parts, one of which is none, or of another network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="the miniature needs the extra `cli`")

from ldznet_core import CheckpointError, load_miniature
from ldznet_core.miniature.parts import WEIGHTS
from ldznet_core.weights import read_weights, write_weights

PARTS = ("unet", "vae", "text_encoder")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in WEIGHTS.iterdir():
        if not file.name.startswith("head"):
            shutil.copy(file, tmp_path)
    return tmp_path


def rewritten(folder: Path, part: str, **changes: object) -> None:
    """Change what a part says of its network."""
    state, metadata = read_weights(folder / part)
    config = json.loads(metadata["miniature"]) | changes
    write_weights(state, folder / part, {**metadata, "miniature": json.dumps(config)})


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("other", PARTS)
def test_a_part_in_the_place_of_another_is_refused(part: str, other: str, folder: Path) -> None:
    if part == other:
        assert load_miniature(folder=folder).family == "miniature"
        return
    state, metadata = read_weights(folder / other)
    write_weights(state, folder / part, metadata)
    with pytest.raises(CheckpointError, match=f"a miniature's {part} in "):
        load_miniature(folder=folder)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("unet", {"num_heads": 10**9}),
        ("unet", {"num_heads": "two"}),
        ("vae", {"channels": [32] * 1000}),
        ("vae", {"channels": 32}),
        ("vae", {"scaling_factor": 0}),
        ("vae", {"image_side": None}),
        ("text_encoder", {"layers": 10**9}),
        ("text_encoder", {"layers": 5}),
        ("text_encoder", {"width": 129}),
        ("text_encoder", {"width": 96}),
        ("text_encoder", {"width": True}),
    ],
)
def test_sizes_of_networks_that_are_not_there_are_refused(
    part: str, changes: dict[str, object], folder: Path
) -> None:
    rewritten(folder, part, **changes)
    with pytest.raises(CheckpointError, match=part):
        load_miniature(folder=folder)


def test_settings_that_are_none_are_refused(folder: Path) -> None:
    state, metadata = read_weights(folder / "vae")
    for text in ("x", "[]", "3"):
        write_weights(state, folder / "vae", {**metadata, "miniature": text})
        with pytest.raises(CheckpointError, match="a miniature's vae"):
            load_miniature(folder=folder)
