"""Masks without a trained head on ComfyUI's own UNets at their true sizes, with random weights.

Run by name: ``python run.py test tests/hosts/comfyui/test_true_size_attention.py -m slow -s``; each
size takes from half a minute of CPU time to two, SDXL 6.2 GB of memory. What is printed is a row of
docs/benchmarks.md.
"""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import HOSTS
from .hosts import NO_HOST, NoPythonError
from .rig import found_inside

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HOSTS, reason=NO_HOST),
]

SQUARES = [(512, 512), (768, 768), (1024, 1024)]
OBLONGS = {"sd1": (512, 768), "sd2": (1024, 768), "sdxl": (1152, 896)}
SIZES = [
    pytest.param(family, size, id=f"{family}-{size[0]}x{size[1]}")
    for family, oblong in OBLONGS.items()
    for size in sorted([*SQUARES, oblong])
]
"""(height, width) in pixels."""

PLACES = {"sd1": 11, "sd2": 11, "sdxl": 9}
"""Five blocks' queries to the text, and the queries and keys of three blocks' links, or of two."""

MOST_KEPT_MB = 64.0
"""Of one picture, in half precision; what SDXL at 1024 px may need."""
MOST_ON_TOP_GB = 1.0
"""What a probe and two readings may need on top of sampling."""


@pytest.mark.parametrize(("family", "size"), SIZES)
def test_a_pass_and_a_probe_of_true_size_become_masks(family: str, size: tuple[int, int]) -> None:
    found = whole_way(family, size)
    print(row(family, size, found))
    assert found["places"] == PLACES[family]
    assert found["timesteps"] == [100.0, 100.0]
    good = {"logits": [4, *size], "masks": [4, *size], "is_finite": True, "varies": True}
    assert found["answers"] == [good, good]
    assert found["hooks"] == 0
    assert found["kept_mb"] <= MOST_KEPT_MB
    assert not found["gb"]["whole"] > found["gb"]["pass"] + MOST_ON_TOP_GB  # not told on Windows


def whole_way(family: str, size: tuple[int, int]) -> Any:
    """What a process of the host's found, where a MODEL of this family was sampled and read."""
    try:
        return found_inside(HOSTS[0], "true_size.py", family, *size)
    except NoPythonError as error:
        pytest.skip(str(error))


def row(family: str, size: tuple[int, int], found: Any) -> str:
    """Family, picture, pass, probe and four phrases in CPU s, MB kept, GB of weights and peak."""
    seconds, gb = found["seconds"], found["gb"]
    cells = [
        family,
        f"{size[0]}x{size[1]}",
        f"{seconds['pass']:.1f}",
        f"{seconds['probe']:.1f}",
        f"{seconds['head']:.2f}, {seconds['head'] / seconds['pass']:.1%}",
        f"{found['kept_mb']:.1f}",
        f"{gb['weights']:.1f}",
        f"{gb['whole']:.1f}",
    ]
    return "\n| " + " | ".join(cells) + " |"
