"""Masks without a trained head of small models of SD 2.x and SDXL in a real A1111.

What the extension reads is compared with what the host gives by calls of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .cases import SAMPLING, pixels
from .client import Client, decoded, encoded, with_masks, with_support
from .conftest import Start
from .families import PHRASES, SIGNS, WIDTHS, read, written
from .test_backbones import SAME, distances, drawn

pytestmark = pytest.mark.slow

HEAD = "training-free"
REQUEST = {"prompt": "an owl on a beach", "seed": 4, "sampler_name": "Euler", "steps": 8}
REQUEST |= {"width": 128, "height": 64}


@pytest.fixture(scope="module", params=["sd2", "sdxl"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(family: str, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A1111 with a small model of the family."""
    checkpoint = written(family, "small", tmp_path_factory.mktemp(family))
    server = start("webui", checkpoint)
    client = server.client()
    client.call("/sdapi/v1/options", {"live_previews_enable": False})  # else SDXL's is downloaded
    yield client
    server.stop()
    checkpoint.unlink()


class TestA1111:
    def test_all_is_as_the_host_computes_it(self, client: Client, family: str) -> None:
        found = read(client, PHRASES)
        assert found.family == family
        assert found.ours["context"].shape == (2, 77, WIDTHS[family])
        assert max(distances(found.ours, found.theirs).values()) <= SAME
        assert found.counts == [3, 8]

    def test_signs_in_phrases_are_letters(self, client: Client) -> None:
        found = read(client, SIGNS)
        with client.options(emphasis="None"):  # brackets are letters to the host too then
            expected = read(client, SIGNS).theirs["context"]
        gap = (found.ours["context"] - expected).norm(dim=(1, 2)) / expected.norm(dim=(1, 2))
        assert gap.max() <= SAME

    def test_clip_skip_changes_nothing(self, client: Client) -> None:
        plain = read(client, PHRASES)
        with client.options(CLIP_stop_at_last_layers=3, sdxl_clip_l_skip=True):
            found = read(client, PHRASES)
        assert torch.equal(found.ours["context"], plain.ours["context"])

    def test_nothing_is_left_and_nothing_left_to_chance(self, client: Client) -> None:
        found, again = read(client, PHRASES), read(client, PHRASES)
        assert torch.equal(found.latents, again.latents)
        assert found.before == found.after
        assert client.state(is_thorough=True)["hooks"] == []

    def test_the_picture_is_the_same_byte_for_byte(self, client: Client) -> None:
        plain = client.txt2img(**REQUEST, alwayson_scripts=with_support())
        before = client.state()
        scripts = with_masks("an owl\nthe sky", head=HEAD, source="sampling") | with_support()
        made = client.txt2img(**REQUEST, alwayson_scripts=scripts)
        after = client.state()
        assert pixels(made.images[:1]) == pixels(plain.images)
        assert (after["hooks"], after["randomness"]) == (before["hooks"], before["randomness"])
        assert len(made.images) == 3
        for index in (1, 2):
            assert made.images[index].size == (128, 64)
            assert made.fields(index)["LD-ZNet features"].startswith(SAMPLING)
            assert made.fields(index)["LD-ZNet used head"] == HEAD

    def test_the_route_makes_a_probe(self, client: Client, family: str) -> None:
        body = {"image": encoded(drawn(128, 64)), "phrases": PHRASES}
        reply = client.call("/ldznet/v1/mask", body)
        assert (reply["head"], reply["source"], reply["timestep"]) == (HEAD, "probe", 100)
        assert [decoded(mask).size for mask in reply["masks"]] == [(128, 64)] * 2
        assert client.call("/ldznet/v1/info")["family"] == family

    def test_a_trained_head_is_refused_with_a_sentence(self, client: Client, family: str) -> None:
        scripts = with_masks("an owl", head="miniature")
        made = client.txt2img(**{**REQUEST, "steps": 1}, alwayson_scripts=scripts)
        assert len(made.images) == 1
        said = made.info["extra_generation_params"]["LD-ZNet error"]
        assert said == (
            f"expected a head for {family}, as the checkpoint is, got miniature, which is for "
            "miniature: choose auto or training-free"
        )
