"""The README's Python examples, run as they stand; what they presuppose is set up here."""

from __future__ import annotations

import base64
import io
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers", reason="the examples use the miniature, of the extra `cli`")

from ldznet_core import load_miniature
from ldznet_core.miniature import Miniature
from ldznet_core.world import draw_layout, render

PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
OWL_ALONE = ("small", "iid", 16)
OWL, LIBRARY, SAMPLER = "an owl on a beach", "segment_image(", "capturing("
API = "/ldznet/v1/mask"


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the picture of an owl."""
    monkeypatch.chdir(tmp_path)
    scene = render(draw_layout(*OWL_ALONE), 128)
    assert [thing.name for thing in scene.layout.things] == ["owl"]
    Image.fromarray(scene.image).save("picture.png")
    return tmp_path


def blocks(root: Path) -> list[str]:
    return PYTHON.findall((root / "README.md").read_text(encoding="utf-8"))


def block(root: Path, words: str) -> str:
    """The one example with these words."""
    (found,) = [each for each in blocks(root) if words in each]
    return found


def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    """The names after a block, which is run with those given."""
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  # the project's own page
    return names


def test_every_example_is_run_here(root: Path) -> None:
    words = (LIBRARY, SAMPLER, API)
    assert [sum(each in code for each in words) for code in blocks(root)] == [1, 1, 1]


@pytest.mark.usefixtures("folder")
def test_the_first_masks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(block(root, LIBRARY), {})["result"]
    assert list(result.found) == [True, False]
    assert result.masks.shape == (2, 128, 128)
    assert result.masks[0].any()
    assert not result.masks[1].any()
    assert capsys.readouterr().out.startswith(str(result.found))


@pytest.mark.usefixtures("folder")
def test_masks_while_own_code_samples(root: Path, miniature: Miniature) -> None:
    made = miniature.generate(OWL, seed=3, steps=12)
    noisy = miniature.schedule.add_noise(made.latents, torch.randn_like(made.latents), 400)
    names = run(block(root, LIBRARY), {})
    names |= {
        "unet": miniature.unet,
        "x": noisy,
        "timesteps": torch.tensor([400.0]),
        "context": miniature.encode_text([OWL]),
        "latents": made.latents,
        "image": made.image,
    }
    with torch.no_grad():
        result = run(block(root, SAMPLER), names)["result"]
    assert (result.source, result.timestep) == ("sampling", 400)
    assert list(result.found) == [True]
    assert result.masks.shape == (1, 128, 128)


@pytest.mark.usefixtures("folder")
def test_masks_by_the_api(
    root: Path,
    miniature: Miniature,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("fastapi", reason="the routes need FastAPI, which the hosts bring")
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from ldznet_webui.api import add_routes

    from .webui.miniature_host import MiniatureHost

    app = FastAPI()
    loaded = MiniatureHost(miniature, tmp_path / "heads")
    add_routes(app, lambda: loaded)
    client = TestClient(app, base_url="http://127.0.0.1:7860")
    requests = types.ModuleType("requests")
    requests.post = client.post  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "requests", requests)
    names = run(block(root, API), {})
    assert names["answer"]["found"] == [True, False]
    assert capsys.readouterr().out.startswith("[True, False]")
    for text in names["answer"]["masks"]:
        with Image.open(io.BytesIO(base64.b64decode(text))) as mask:
            assert np.asarray(mask).shape == (128, 128)
    assert names["txt2img"]["alwayson_scripts"]["LD-ZNet"]["args"] == [{"phrases": ["owl"]}]
