"""The pack in a stand-in for ComfyUI, for as long as one file's tests run; models and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ldznet_core.world import Scene, draw_layout, render

from .calling import call
from .loading import Pack, host, loaded_pack
from .studio import hooks_of, tiny_model


@pytest.fixture(scope="module")
def pack(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    """The pack behind the host's door."""
    with host(tmp_path_factory.mktemp("comfyui")), loaded_pack(root) as loaded:
        yield loaded


@pytest.fixture
def models(pack: Pack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of models in which nothing has been put or registered yet."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {})
    return tmp_path


@pytest.fixture
def ldznet(pack: Pack, models: Path) -> Path:
    """models/ldznet, registered."""
    pack.module("nodes.folders").register()
    return models / "ldznet"


@pytest.fixture(scope="module")
def nodes(pack: Pack) -> dict[str, Any]:
    """The pack's nodes by id."""
    return pack.nodes()


@pytest.fixture
def input_error(pack: Pack) -> type[Exception]:
    """The pack's own `InputError`; the one that tests import is of another copy of the core."""
    error: type[Exception] = pack.module("ldznet_core").InputError
    return error


@pytest.fixture(scope="module")
def plain(pack: Pack) -> Any:
    """A MODEL of a tiny UNet without capture; no test may change it."""
    return tiny_model()


@pytest.fixture
def bank(pack: Pack) -> Any:
    """An empty bank."""
    return pack.module("nodes.bank").Bank()


@pytest.fixture
def heard(pack: Pack, plain: Any, bank: Any) -> Any:
    """The tiny MODEL with capture into the bank."""
    return pack.module("nodes.sampling").with_capture(plain, bank)


@pytest.fixture
def unet(plain: Any) -> Iterator[nn.Module]:
    """The UNet of `plain`, which bears no hook afterwards."""
    unet = plain.model.diffusion_model
    assert hooks_of(unet) == 0
    yield unet
    assert hooks_of(unet) == 0


@pytest.fixture(scope="module")
def loaded(nodes: dict[str, Any]) -> SimpleNamespace:
    """The miniature's MODEL, CLIP and VAE."""
    pytest.importorskip("diffusers", reason="the stand-in's VAE needs the extra `cli`")
    return call(nodes["LDZNetLoadMiniature"])


@pytest.fixture(scope="module")
def parts(nodes: dict[str, Any], loaded: SimpleNamespace) -> dict[str, Any]:
    """What the nodes that make masks are given of the miniature."""
    head = call(nodes["LDZNetLoadHead"], head_name="miniature").head
    return {"head": head, "model": loaded.model, "clip": loaded.clip}


@pytest.fixture(scope="module")
def segment(nodes: dict[str, Any], parts: dict[str, Any]) -> Any:
    """LDZNetSegment on the miniature: call it with `samples`, `phrases` and what else is wanted."""

    def segmented(samples: Any, phrases: str, **options: Any) -> SimpleNamespace:
        asked = {"threshold": 0.5, "source": "auto", **parts, **options}
        return call(nodes["LDZNetSegment"], samples=samples, phrases=phrases, **asked)

    return segmented


@pytest.fixture(scope="module")
def segment_image(nodes: dict[str, Any], parts: dict[str, Any], loaded: SimpleNamespace) -> Any:
    """LDZNetSegmentImage on the miniature: call it with `image`, `phrases` and what else."""

    def segmented(image: Tensor, phrases: str, **options: Any) -> SimpleNamespace:
        asked = {"threshold": 0.5, "vae": loaded.vae, **parts, **options}
        return call(nodes["LDZNetSegmentImage"], image=image, phrases=phrases, **asked)

    return segmented


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A red car in a meadow, of 128x128 pixels."""
    return render(draw_layout("small", "iid", 3), 128)


@pytest.fixture(scope="session")
def image(scene: Scene) -> Tensor:
    """The scene as an IMAGE."""
    return torch.from_numpy(scene.image.copy())[None].float() / 255
