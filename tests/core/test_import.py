"""What importing the core brings in, seen from a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ldznet_core

ROOT = Path(__file__).parents[2]
ALLOWED = {"torch", "numpy", "einops", "safetensors", "ldznet_core"}


def _modules_after(*stages: str) -> list[set[str]]:
    """The modules that a fresh interpreter holds after each of some pieces of code."""
    report = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    code = "\n".join(f"{stage}\n{report}" for stage in stages)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT, text=True
    )
    return [set(json.loads(line)) for line in done.stdout.splitlines()]


def _packages(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


@pytest.fixture(scope="module")
def modules() -> dict[str, set[str]]:
    """What there is after the import, then with a head, and then with the miniature's weights."""
    weights = (
        "from ldznet_core.miniature.parts import WEIGHTS, load_part\n"
        "for part in ('unet', 'vae', 'text_encoder'):\n"
        "    weights, config = load_part(WEIGHTS / part)\n"
        "    assert weights and config\n"
    )
    stages = ("import ldznet_core", "ldznet_core.load_head('miniature')", weights)
    return dict(zip(("import", "head", "weights"), _modules_after(*stages), strict=True))


@pytest.fixture(scope="module")
def brought_in(modules: dict[str, set[str]]) -> set[str]:
    """What the core brings in beyond its four packages and what these bring in themselves."""
    packages = "import torch, numpy, einops, safetensors.torch\n"
    # Loaded by these packages on first use of what the core uses of them.
    packages += "import torch.nn, torch.nn.functional, numpy.typing"
    [known] = _modules_after(packages)
    return _packages(modules["import"]) - _packages(known) - set(sys.stdlib_module_names)


def test_it_needs_four_packages_and_nothing_else(brought_in: set[str]) -> None:
    assert brought_in <= ALLOWED


def test_no_host_and_nothing_heavy_is_imported(brought_in: set[str]) -> None:
    heavy = {"diffusers", "transformers", "accelerate", "PIL", "tqdm", "comfy", "modules"}
    assert not brought_in & heavy


def test_every_public_name_is_there() -> None:
    missing = [name for name in ldznet_core.__all__ if name not in dir(ldznet_core)]
    assert not missing
    assert ldznet_core.__all__ == sorted(ldznet_core.__all__)
    for name in set(ldznet_core.__all__) - {"load_miniature"}:
        assert getattr(ldznet_core, name).__module__.startswith("ldznet_core.")


def test_load_miniature_is_imported_on_first_use() -> None:
    pytest.importorskip("diffusers", reason="the miniature's networks need the extra `cli`")
    first_use = "import ldznet_core; ldznet_core.load_miniature; ldznet_core.load_miniature"
    [modules] = _modules_after(first_use)
    assert "ldznet_core" in modules


def test_the_miniature_s_weights_are_read_without_the_libraries_of_its_networks(
    modules: dict[str, set[str]],
) -> None:
    """ComfyUI builds the networks itself, and need not have diffusers."""
    assert "ldznet_core.miniature.parts" in modules["weights"]
    assert not modules["weights"] & {"diffusers", "transformers", "accelerate", "PIL"}


def test_the_miniature_s_networks_come_on_first_use() -> None:
    pytest.importorskip("diffusers", reason="the miniature's networks need the extra `cli`")
    import ldznet_core.miniature as miniature

    for name in miniature.__all__:
        assert getattr(miniature, name).__module__ == "ldznet_core.miniature.model"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = miniature.nonsense


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ldznet_core.nonsense


def test_loading_a_head_leaves_torch_s_compiler_alone(modules: dict[str, set[str]]) -> None:
    """Its import takes a second, for which hosts that never compile should not wait."""
    assert "ldznet_core.checkpoint" in modules["head"]
    assert "torch._dynamo" not in modules["head"]
