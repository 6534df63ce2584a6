"""What the script's settings do to real pictures of A1111, and what infotexts say of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from .cases import OTHERS, PROMPT, SMALL, pixels
from .client import Client, Generated, encoded, with_masks
from .rig import Server

REQUEST = {"prompt": PROMPT, "seed": 5, "sampler_name": "Euler", **SMALL}


@pytest.fixture(scope="module")
def plain(client: Client) -> Generated:
    """The picture with a mask of the car, by default settings."""
    return client.txt2img(**REQUEST, alwayson_scripts=with_masks("the red car"))


def masked(client: Client, phrases: str = "the red car", **settings: Any) -> Generated:
    return client.txt2img(**REQUEST, alwayson_scripts=with_masks(phrases, **settings))


def repainted(client: Client, picture: Image.Image, **more: Any) -> tuple[Generated, Any]:
    """What becomes of a picture whose car is repainted, and where it has changed, ``(H, W)``."""
    made = client.img2img(
        **{**REQUEST, "prompt": OTHERS[0], "seed": 9},
        init_images=[encoded(picture)],
        denoising_strength=1.0,
        mask_blur=0,
        inpaint_full_res=False,
        alwayson_scripts=with_masks("the red car", source="probe", use_as_mask=True),
        **more,
    )
    before, after = (np.asarray(each.convert("RGB"), int) for each in (picture, made.images[0]))
    return made, np.abs(after - before).max(axis=2) > 0


class TestMasks:
    def test_the_mask_is_of_the_thing(self, plain: Generated) -> None:
        assert 0.02 < np.asarray(plain.images[1]).mean() / 255 < 0.7
        assert plain.fields(1)["LD-ZNet found"] == "found"

    def test_inverted(self, client: Client, plain: Generated) -> None:
        made = masked(client, invert=True)
        assert np.array_equal(np.asarray(made.images[1]), 255 - np.asarray(plain.images[1]))

    def test_grown(self, client: Client, plain: Generated) -> None:
        before, after = (np.asarray(each.images[1]) > 0 for each in (plain, masked(client, grow=4)))
        assert after[before].all()
        assert after.sum() > before.sum()

    def test_a_negative_phrase_takes_away(self, client: Client) -> None:
        both = masked(client, "the meadow", negative_phrases="the meadow")
        assert both.images[1].getbbox() is None

    def test_what_is_not_there_is_empty(self, client: Client) -> None:
        made = masked(client, "an owl")
        assert made.images[1].getbbox() is None
        assert made.fields(1)["LD-ZNet found"] == "not there"


class TestResults:
    def test_no_masks_shown(self, client: Client, plain: Generated) -> None:
        made = masked(client, append=False)
        assert pixels(made.images) == pixels(plain.images[:1])

    def test_an_overlay(self, client: Client) -> None:
        made = masked(client, overlay=True)
        assert [image.mode for image in made.images] == ["RGB", "L", "RGB"]

    def test_saved_masks_lie_beside_the_pictures(self, server: Server, client: Client) -> None:
        scripts = with_masks("the red car", save=True)
        made = client.txt2img(**REQUEST, save_images=True, alwayson_scripts=scripts)
        saved = {
            path.name: path for path in (server.base / "outputs" / "txt2img-images").rglob("*.png")
        }
        masks = [path for name, path in saved.items() if "the-red-car" in name]
        assert len(saved) >= 2
        assert len(masks) == 1
        with Image.open(masks[0]) as mask:
            assert "LD-ZNet mask: the red car" in mask.info["parameters"]
            assert pixels([mask]) == pixels(made.images[1:2])

    def test_the_host_returns_its_own_masks_too(self, client: Client, plain: Generated) -> None:
        box = Image.new("L", (128, 128))
        box.paste(255, (32, 32, 96, 96))
        with client.options(return_mask=True):
            made = client.img2img(
                **REQUEST,
                batch_size=2,
                init_images=[encoded(plain.images[0])],
                mask=encoded(box),
                inpaint_full_res=False,
                alwayson_scripts=with_masks("the red car"),
            )
        assert len(made.images) == len(made.infotexts) == 6
        seeds = [made.fields(index).get("Seed") for index in (4, 5)]
        assert seeds == ["5", "6"]


class TestSources:
    def test_only_sampling_where_nothing_was_heard(self, client: Client) -> None:
        scripts = with_masks("the red car", source="sampling")
        made = client.txt2img(**{**REQUEST, "steps": 1}, alwayson_scripts=scripts)
        assert len(made.images) == 1
        assert "probe" in made.info["extra_generation_params"]["LD-ZNet error"]

    def test_a_probe_where_it_is_wanted(self, client: Client, plain: Generated) -> None:
        made = masked(client, source="probe")
        assert made.fields(1)["LD-ZNet features"] == "probe at t=100"
        assert pixels(made.images[:1]) == pixels(plain.images[:1])


class TestInfotext:
    def test_pasted_back_it_makes_the_same_masks(self, client: Client) -> None:
        settings = {"threshold": 0.35, "grow": 3, "negative_phrases": "the sky", "source": "probe"}
        made = masked(client, "the red car\nthe meadow", **settings)
        again = client.txt2img(infotext=made.infotexts[0])
        assert pixels(again.images) == pixels(made.images)
        assert again.infotexts == made.infotexts


class TestRepainting:
    def test_only_what_is_named_is_changed(self, client: Client, plain: Generated) -> None:
        picture, mask = plain.images[:2]
        _, is_changed = repainted(client, picture)
        far = np.asarray(_grown(mask, 24)) == 0
        assert is_changed.any()
        assert not is_changed[far].any()

    def test_nothing_outside_a_drawn_mask_is_changed(
        self, client: Client, plain: Generated
    ) -> None:
        picture, mask = plain.images[:2]
        left, upper, right, lower = mask.getbbox() or (0, 0, 0, 0)
        drawn = Image.new("L", picture.size)
        drawn.paste(255, (left, upper, (left + right) // 2, lower))
        made, is_changed = repainted(client, picture, mask=encoded(drawn))
        assert is_changed.any()
        assert not is_changed[np.asarray(_grown(drawn, 24)) == 0].any()
        used = made.images[-1]
        assert used.getbbox() is not None
        assert not np.asarray(used)[np.asarray(drawn) == 0].any()
        assert made.fields(len(made.images) - 1)["LD-ZNet mask of"].startswith("the given picture")
        assert "inside the drawn mask" in made.fields()["LD-ZNet inpaint mask"]

    def test_nothing_is_changed_where_it_is_not_there(
        self, client: Client, plain: Generated
    ) -> None:
        picture = plain.images[0]
        made = client.img2img(
            **REQUEST,
            init_images=[encoded(picture)],
            alwayson_scripts=with_masks("an owl", use_as_mask=True),
        )
        assert pixels(made.images[:1]) == pixels([picture])
        assert "an owl" in made.info["extra_generation_params"]["LD-ZNet error"]


def _grown(mask: Image.Image, by: int) -> Image.Image:
    return mask.filter(ImageFilter.MaxFilter(2 * by + 1))
