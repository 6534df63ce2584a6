"""Masks while generating, in every kind of run that A1111 knows; `cases` says what is compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from .cases import LONG, OTHERS, PROMPT, SAMPLING, SMALL, UNHEARD, Case, check, pixels, two
from .client import Client, encoded, with_masks, with_support
from .conftest import SECOND, Start

LARGER = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent"}


TXT2IMG = [
    Case("Euler, 20 steps", {"steps": 20}),
    Case("4 steps", {"steps": 4}),
    Case("1 step", {"steps": 1}, reason=UNHEARD),
    Case("Karras, 10 steps", {"steps": 10, "scheduler": "Karras", "sampler_name": "DPM++ 2M"}),
    Case("Heun", {"sampler_name": "Heun"}),
    Case("DPM++ SDE", {"sampler_name": "DPM++ SDE"}),
    pytest.param(Case("DPM adaptive", {"sampler_name": "DPM adaptive"}), marks=pytest.mark.slow),
    Case("DDIM", {"sampler_name": "DDIM", "steps": 10}),
    Case("PLMS", {"sampler_name": "PLMS"}),
    Case("UniPC", {"sampler_name": "UniPC"}),
    Case("a batch", **two(), pictures=2),
    Case(
        "two batches of two",
        {"n_iter": 2, "batch_size": 2},
        orders={"prompts": [PROMPT, *OTHERS]},
        pictures=4,
    ),
    Case("AND", {"prompt": f"{PROMPT} AND a blue boat"}),
    Case(
        "AND in one of a batch",
        {"batch_size": 2},
        orders={"prompts": [f"{OTHERS[0]} AND {OTHERS[1]} :0.5", PROMPT]},
        pictures=2,
    ),
    Case(
        "prompts of one window and of two",
        {"batch_size": 2},
        orders={"prompts": [LONG, OTHERS[0]]},
        pictures=2,
    ),
    Case("a negative prompt of two windows", {"negative_prompt": LONG}),
    Case("windows filled up", {"prompt": LONG}, {"pad_cond_uncond": True}, mark="Pad conds"),
    Case("prompt and negative apart", **two(), options={"batch_cond_uncond": False}, pictures=2),
    Case("cfg 1", {"cfg_scale": 1}),
    Case(
        "no negative at first",
        **two(),
        options={"skip_early_cond": 0.7},
        mark="Skip Early CFG",
        pictures=2,
    ),
    Case(
        "no negative in the end",
        options={"s_min_uncond": 3.0, "s_min_uncond_all": True},
        mark="NGMS",
    ),
    Case("136x200", {"width": 136, "height": 200}, size=(136, 200)),
    Case("tokens merged", options={"token_merging_ratio": 0.5}, mark="Token merging ratio"),
    Case("hypertile", options={"hypertile_enable_unet": True}, mark="Hypertile U-Net"),
    Case(
        "hires fix", {**LARGER, "denoising_strength": 0.75}, mark="Hires upscale", size=(192, 192)
    ),
    Case("hires fix, hardly changed", {**LARGER, "denoising_strength": 0.2}, size=(192, 192)),
    Case(
        "a refiner before the window",
        {"steps": 10, "refiner_checkpoint": SECOND, "refiner_switch_at": 0.5},
        mark="Refiner",
    ),
    Case(
        "a refiner in the window",
        {"steps": 10, "refiner_checkpoint": SECOND, "refiner_switch_at": 0.6},
        mark="Refiner",
    ),
    Case(
        "another run inside each of a batch",
        {"batch_size": 2},
        orders={"prompts": [PROMPT, OTHERS[0]], "nested": True},
        pictures=2,
    ),
]

IMG2IMG = [
    Case("strength 0.75", {"denoising_strength": 0.75}),
    Case("strength 0.5 of a batch", **two(denoising_strength=0.5), pictures=2),
    Case("strength 0.2", {"denoising_strength": 0.2}),
    Case("inpaint the whole", {"denoising_strength": 0.75, "inpaint_full_res": False}),
    Case(
        "inpaint only masked",
        {"denoising_strength": 0.75, "inpaint_full_res": True, "inpaint_full_res_padding": 16},
        reason="a part of the picture",
    ),
]


@pytest.mark.parametrize("case", TXT2IMG, ids=lambda case: case.name)
def test_txt2img(client: Client, case: Case) -> None:
    check(client, case, "txt2img", SMALL)


@pytest.mark.parametrize("case", IMG2IMG, ids=lambda case: case.name)
def test_img2img(client: Client, case: Case, start_picture: Image.Image) -> None:
    request = {**SMALL, "init_images": [encoded(start_picture)]}
    if "inpaint" in case.name:
        request["mask"] = encoded(box())
    check(client, case, "img2img", request)


@pytest.mark.slow
def test_in_little_memory(start: Start, miniature: Path) -> None:
    client = start("webui", miniature, "--lowvram").client()
    check(client, Case("a batch", **two(), pictures=2), "txt2img", SMALL)


REQUEST = {"prompt": PROMPT, "seed": 5, **SMALL}


class TestWhatGoesWrong:
    def test_a_unet_that_fails_leaves_no_hook_and_the_next_run_is_right(
        self, client: Client
    ) -> None:
        for at_pass in (2, 5):  # the second is one that is listened to
            scripts = with_masks("the car") | with_support(fail_in_pass=at_pass)
            reply = client.request("/sdapi/v1/txt2img", {**REQUEST, "alwayson_scripts": scripts})
            assert (reply.status, "on purpose" in str(reply.body)) == (500, True)
            assert client.state()["hooks"] == []
        check(client, Case("after it"), "txt2img", REQUEST)

    @pytest.mark.parametrize("step", [4, 13])  # before the window of timesteps, and after it
    def test_an_interrupted_run(self, client: Client, step: int) -> None:
        orders = with_support(interrupt_at_step=step)
        request = {**REQUEST, "steps": 20}
        plain = client.txt2img(**request, alwayson_scripts=orders)
        masked = client.txt2img(**request, alwayson_scripts=with_masks("the car") | orders)
        assert pixels(masked.images[:1]) == pixels(plain.images)
        assert client.state()["hooks"] == []
        if step > 10:
            assert masked.fields(1)["LD-ZNet features"].startswith(SAMPLING)
        else:
            assert len(masked.images) == 1
            problem = masked.info["extra_generation_params"]["LD-ZNet error"]
            assert "interrupted" in problem


@pytest.fixture(scope="module")
def start_picture(client: Client) -> Image.Image:
    """A picture for img2img."""
    return client.txt2img(prompt=OTHERS[2], seed=3, steps=8, width=128, height=128).images[0]


def box() -> Image.Image:
    """An inpaint mask: the lower right quarter."""
    mask = Image.new("L", (128, 128))
    ImageDraw.Draw(mask).rectangle((64, 64, 127, 127), fill=255)
    return mask
