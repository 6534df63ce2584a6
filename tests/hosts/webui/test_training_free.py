"""Masks without a trained head in a real A1111, from attention captured there or probed."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageStat

from .cases import SAMPLING, pixels
from .client import Client, Generated, decoded, encoded, with_masks, with_support
from .conftest import SECOND

HEAD = "training-free"
FOUND, ABSENT = "hamburger", "soccer ball"
PROMPT, OTHER = "a red hamburger on a table", "an owl on a beach"
REQUEST = {"prompt": PROMPT, "seed": 7, "sampler_name": "Euler", "steps": 12, "cfg_scale": 4}
REQUEST |= {"width": 128, "height": 128}


def share(mask: Image.Image) -> float:
    """How much of a mask is inside."""
    return float(ImageStat.Stat(mask).mean[0]) / 255


def overlap(one: Image.Image, other: Image.Image) -> float:
    """Intersection over union."""
    return share(ImageChops.darker(one, other)) / share(ImageChops.lighter(one, other))


def masked(client: Client, phrases: str = f"{FOUND}\n{ABSENT}", **request: object) -> Generated:
    """A generation with masks by captured attention."""
    orders = request.pop("orders", {})
    assert isinstance(orders, dict)
    scripts = with_masks(phrases, head=HEAD, source="sampling") | with_support(**orders)
    return client.txt2img(**{**REQUEST, **request}, alwayson_scripts=scripts)


@pytest.fixture(scope="module")
def made(client: Client) -> Generated:
    """One picture, the mask of the thing in it, and that of one that is not."""
    return masked(client)


class TestWhileGenerating:
    def test_the_picture_is_the_same_byte_for_byte(self, client: Client, made: Generated) -> None:
        plain = client.txt2img(**REQUEST, alwayson_scripts=with_support())
        before = client.state()
        again = masked(client)
        after = client.state()
        assert pixels(again.images[:1]) == pixels(plain.images) == pixels(made.images[:1])
        assert pixels(again.images) == pixels(made.images)
        assert (after["hooks"], after["randomness"]) == (before["hooks"], before["randomness"])

    def test_masks_say_where_they_come_from(self, made: Generated) -> None:
        assert len(made.images) == 3
        for index, phrase in ((1, FOUND), (2, ABSENT)):
            fields = made.fields(index)
            assert fields["LD-ZNet mask"] == phrase
            assert fields["LD-ZNet used head"] == HEAD
            assert fields["LD-ZNet features"].startswith(SAMPLING)
            assert made.images[index].size == (128, 128)

    def test_the_thing_is_found_where_it_is(self, client: Client, made: Generated) -> None:
        body = {"image": encoded(made.images[0]), "phrases": [FOUND]}
        trained = client.call("/ldznet/v1/mask", body)
        assert (trained["head"], trained["found"]) == ("miniature-compact", [True])
        assert made.fields(1)["LD-ZNet found"] == "found"
        assert overlap(made.images[1], decoded(trained["masks"][0])) > 0.7

    def test_the_absent_one_is_not(self, made: Generated) -> None:
        assert made.fields(2)["LD-ZNet found"] == "not there"
        assert share(made.images[2]) == 0

    def test_each_of_a_batch_has_its_own(self, client: Client) -> None:
        phrases, prompts = f"{FOUND}\nowl", [PROMPT, OTHER]
        both = masked(client, phrases, batch_size=2, orders={"prompts": prompts})
        for picture, prompt in enumerate(prompts):
            alone = masked(client, phrases, prompt=prompt, seed=7 + picture)
            for phrase in (1, 2):
                place = 1 + 2 * picture + phrase
                score = float(alone.fields(phrase)["LD-ZNet score"])
                assert float(both.fields(place)["LD-ZNet score"]) == pytest.approx(score, abs=0.01)
                if alone.fields(phrase)["LD-ZNet found"] == "found":
                    assert overlap(both.images[place], alone.images[phrase]) > 0.98
        assert both.fields(2)["LD-ZNet found"] == both.fields(5)["LD-ZNet found"] == "found"
        assert overlap(both.images[2], both.images[5]) < 0.8

    def test_a_refiner_is_listened_to_as_well(self, client: Client) -> None:
        refiner = {"steps": 10, "refiner_checkpoint": SECOND, "refiner_switch_at": 0.5}
        found = masked(client, FOUND, **refiner)
        assert found.fields(1)["LD-ZNet features"].startswith(SAMPLING)
        assert found.fields(1)["LD-ZNet found"] == "found"
        assert client.state()["hooks"] == []


class TestRoutes:
    def test_a_picture_is_masked_by_a_probe(self, client: Client, made: Generated) -> None:
        body = {"image": encoded(made.images[0]), "phrases": [FOUND, ABSENT], "head": HEAD}
        reply = client.call("/ldznet/v1/mask", body)
        assert (reply["head"], reply["source"], reply["timestep"]) == (HEAD, "probe", 100)
        assert reply["found"] == [True, False]
        assert share(decoded(reply["masks"][1])) == 0
        assert overlap(decoded(reply["masks"][0]), made.images[1]) > 0.7
        assert client.call("/ldznet/v1/mask", body) == reply
        assert client.state()["hooks"] == []

    def test_it_is_among_the_heads(self, client: Client) -> None:
        assert HEAD in client.call("/ldznet/v1/info")["heads"]
