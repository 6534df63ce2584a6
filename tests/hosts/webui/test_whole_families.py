"""Masks without a trained head of SD 2.x and SDXL in a real Forge, which knows whole models only.

Run them with ``python run.py test tests/hosts/webui/test_whole_families.py -m slow``; LDZNET_FORGE
may name a reForge. SDXL takes 7 GB of disk, and 10 GB of memory (17 in reForge).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cases import SAMPLING, pixels
from .client import Client, with_masks, with_support
from .conftest import Start
from .families import PHRASES, SIGNS, WIDTHS, read, written
from .test_backbones import SAME, distances

pytestmark = pytest.mark.slow

REQUEST = {"prompt": "an owl on a beach", "seed": 4, "sampler_name": "Euler", "steps": 3}
REQUEST |= {"width": 128, "height": 64}


@pytest.fixture(scope="module", params=["sd2", "sdxl"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(family: str, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Forge with a whole model of the family, whose weights take two bytes each."""
    checkpoint = written(family, "whole", tmp_path_factory.mktemp(family))
    server = start("forge", checkpoint, "--unet-in-fp16", "--clip-in-fp16")
    client = server.client()
    client.call("/sdapi/v1/options", {"live_previews_enable": False})
    yield client
    server.stop()
    checkpoint.unlink()


def test_all_is_as_the_host_computes_it(client: Client, family: str) -> None:
    found = read(client, PHRASES)
    assert found.family == family
    assert found.ours["context"].shape == (2, 77, WIDTHS[family])
    assert max(distances(found.ours, found.theirs).values()) <= SAME
    assert found.counts == [3, 8]
    assert found.before == found.after


def test_signs_and_clip_skip_change_nothing(client: Client) -> None:
    with client.options(emphasis="None"):  # brackets are letters to the host too then
        expected = read(client, SIGNS).theirs["context"]
    with client.options(CLIP_stop_at_last_layers=3):
        found = read(client, SIGNS).ours["context"]
    gap = (found - expected).norm(dim=(1, 2)) / expected.norm(dim=(1, 2))
    assert gap.max() <= SAME


def test_the_picture_is_the_same_byte_for_byte(client: Client) -> None:
    plain = client.txt2img(**REQUEST, alwayson_scripts=with_support())
    scripts = with_masks("an owl", head="training-free", source="sampling") | with_support()
    made = client.txt2img(**REQUEST, alwayson_scripts=scripts)
    assert pixels(made.images[:1]) == pixels(plain.images)
    assert made.images[1].size == (128, 64)
    assert made.fields(1)["LD-ZNet features"].startswith(SAMPLING)
    assert client.state(is_thorough=True)["hooks"] == []
