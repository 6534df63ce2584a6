"""The page in a browser: the panel, the tab, and the ways between them and the host."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ldznet_core import HeadConfig, LDZNetHead
from ldznet_core.checkpoint import save_head
from ldznet_core.unet import UNetConfig

from .client import Client, with_masks
from .conftest import Start
from .hosts import find_host
from .rig import Server
from .surfing import Surfer, chromium, surfing

PHRASES = ("red car", "sky", "owl")
"""The last of them is not in the picture."""

REQUEST = {
    "prompt": "a red car in a meadow",
    "seed": 7,
    "steps": 12,
    "width": 192,
    "height": 128,
    "sampler_name": "Euler",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """For no longer than it is used: while it is open, no other test may run an event loop."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def surfer(browser: Any, server: Server) -> Iterator[Surfer]:
    """A user before A1111's page, in which nothing may go wrong."""
    with surfing(browser, server.address) as surfer:
        yield surfer
        assert surfer.strange_errors == []
        assert "Traceback" not in server.log


@pytest.fixture(scope="session")
def painted(client: Client) -> tuple[Image.Image, list[Image.Image]]:
    """A picture with a car in it, and the masks that the script found by probes."""
    asked = with_masks("\n".join(PHRASES), source="probe")
    made = client.txt2img(**REQUEST, alwayson_scripts=asked)
    return made.images[0], list(made.images[1:])


@pytest.fixture(scope="session")
def file(painted: tuple[Image.Image, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("given") / "car.png"
    painted[0].save(path)
    return path


@pytest.fixture(scope="module")
def forge(start: Start) -> Server:
    """Forge with SD 1.x and a head."""
    named, host = os.environ.get("LDZNET_SD1"), find_host("forge")
    if not named or host is None:
        pytest.skip("found no Forge, or no SD 1.x: set LDZNET_SD1 to a checkpoint as .safetensors")
    pages = ("--gradio-allowed-path", str(host.folder))  # its own, as its data lie elsewhere
    server = start("forge", Path(named).expanduser(), *pages)
    server.heads.mkdir(parents=True, exist_ok=True)
    save_head(small_head(), server.heads / "small.safetensors")
    return server


def generate(surfer: Surfer, phrases: str = "", steps: int = 8, side: int = 128) -> None:
    """Paint a picture in txt2img."""
    surfer.fill("txt2img_prompt", REQUEST["prompt"])
    for name, value in (("width", 192), ("height", side), ("steps", steps), ("seed", 7)):
        surfer.fill(f"txt2img_{name}", value)
    if phrases:
        surfer.unfold("txt2img")
        surfer.fill("ldznet_txt2img_phrases", phrases)
    surfer.click("txt2img_generate")
    surfer.wait_for("#txt2img_gallery .thumbnail-item img")
    surfer.wait_for("#html_info_txt2img p, #html_info_txt2img .performance")


def find(surfer: Surfer, file: Path, phrases: str = "\n".join(PHRASES)) -> None:
    """Have the tab look for phrases in a picture."""
    surfer.open_tab("LD-ZNet")
    surfer.give("ldznet_picture", file)
    surfer.fill("ldznet_tab_phrases", phrases)
    surfer.click("ldznet_find")
    surfer.wait_for("#ldznet_report table, #ldznet_report .error")


def same(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one.convert("RGB")), np.asarray(other.convert("RGB")))


def test_masks_come_after_the_picture(surfer: Surfer) -> None:
    generate(surfer, "red car\nsky")
    surfer.wait_for("#txt2img_gallery .thumbnail-small:nth-of-type(3) img")
    assert len(surfer.pictures("#txt2img_gallery .thumbnail-small img")) == 3
    assert "LD-ZNet phrases" in surfer.text("html_info_txt2img")


def test_the_tabs_masks_are_those_of_the_script(
    surfer: Surfer, painted: tuple[Image.Image, list[Image.Image]], file: Path
) -> None:
    find(surfer, file)
    surfer.wait_for("#ldznet_gallery .thumbnail-item img")
    together, *masks = surfer.pictures("#ldznet_gallery .thumbnail-item img")
    assert len(masks) == 3
    assert all(same(one, other) for one, other in zip(masks, painted[1], strict=True))
    assert same(together, Image.fromarray(np.maximum.reduce([np.asarray(m) for m in painted[1]])))
    assert "owl\tnot there" in surfer.text("ldznet_report")


def test_a_mask_goes_to_inpaint_upload_and_bounds_what_is_repainted(
    surfer: Surfer, painted: tuple[Image.Image, list[Image.Image]], file: Path
) -> None:
    find(surfer, file)
    surfer.page.locator("#ldznet_gallery .thumbnail-item").nth(1).click()
    surfer.page.wait_for_timeout(1000)
    surfer.click("ldznet_send_to_inpaint")
    surfer.wait_for("#img_inpaint_base img")
    surfer.wait_for("#img_inpaint_mask img")
    assert same(surfer.pictures("#img_inpaint_base img")[0], painted[0])
    assert same(surfer.pictures("#img_inpaint_mask img")[0], painted[1][0])
    assert (surfer.value("img2img_width"), surfer.value("img2img_height")) == ("192", "128")
    surfer.fill("img2img_prompt", "a turtle in a meadow")
    surfer.fill("img2img_denoising_strength", 1)
    surfer.fill("img2img_mask_blur", 0)
    surfer.click("img2img_generate")
    surfer.wait_for("#img2img_gallery .thumbnail-item img")
    surfer.wait_for("#html_info_img2img p")
    inside = np.asarray(painted[1][0]) > 127
    before, after = (
        np.asarray(painted[0], int),
        surfer.pictures("#img2img_gallery .thumbnail-item img")[0],
    )
    changed = np.abs(np.asarray(after.convert("RGB"), int) - before).max(axis=2)
    assert (changed[inside] > 16).mean() > 0.5
    assert changed[~inside].max() <= 1


def test_a_picture_comes_from_under_the_gallery(surfer: Surfer) -> None:
    generate(surfer)
    surfer.click("txt2img_send_to_ldznet")
    surfer.wait_for("#ldznet_picture img")
    assert same(
        surfer.pictures("#ldznet_picture img")[0],
        surfer.pictures("#txt2img_gallery .thumbnail-item img")[0],
    )


def test_an_empty_gallery_is_a_word(surfer: Surfer) -> None:
    surfer.open_tab("LD-ZNet")
    surfer.click("ldznet_from_img2img")
    surfer.page.get_by_text("The gallery is empty").first.wait_for()


def test_what_cannot_be_found_is_a_sentence(surfer: Surfer, file: Path) -> None:
    find(surfer, file, "")
    assert surfer.text("ldznet_report").startswith("expected at least one phrase, got none")
    assert surfer.page.locator("#ldznet_send_to_inpaint").is_disabled()


def test_a_pasted_infotext_fills_the_panel(surfer: Surfer) -> None:
    said = '"red car\\nsky", LD-ZNet threshold: 0.3, LD-ZNet grow: 4, LD-ZNet invert: True'
    text = f"a red car\nSteps: 5, Sampler: Euler, CFG scale: 7, LD-ZNet phrases: {said}"
    surfer.fill("txt2img_prompt", text)
    surfer.click("paste")
    surfer.wait_for("#ldznet_txt2img_phrases textarea")
    surfer.page.wait_for_timeout(1000)
    assert surfer.value("ldznet_txt2img_phrases") == "red car\nsky"
    assert (surfer.value("ldznet_txt2img_threshold"), surfer.value("ldznet_txt2img_grow")) == (
        "0.3",
        "4",
    )
    assert surfer.page.locator("#ldznet_txt2img_invert input").is_checked()


def test_what_was_asked_goes_along_to_img2img(surfer: Surfer) -> None:
    generate(surfer, "red car")
    surfer.click("txt2img_send_to_img2img")
    surfer.wait_for("#img2img_image img")
    surfer.page.wait_for_timeout(500)
    assert surfer.value("ldznet_img2img_phrases") == "red car"


def test_a_folder_is_masked(surfer: Surfer, file: Path, tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "masks"
    pictures.mkdir()
    for name in ("one", "two"):
        Image.open(file).save(pictures / f"{name}.png")
    (pictures / "broken.png").write_bytes(b"nothing")
    ask_for_folder(surfer, pictures, out)
    surfer.page.get_by_text("2 of 3 pictures are masked").wait_for()
    assert "expected a picture in" in surfer.text("ldznet_folder_report")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [each["folder"] for each in report["pictures"]] == ["one", "two"]
    assert (out / "inpaint-masks" / "two.png").is_file()


def test_a_folder_is_left_when_interrupted(surfer: Surfer, file: Path, tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "masks"
    pictures.mkdir()
    for number in range(40):
        Image.open(file).save(pictures / f"{number:02}.png")
    ask_for_folder(surfer, pictures, out)
    surfer.wait_for("#ldznet_folder_overlay img")
    surfer.click("ldznet_interrupt")
    surfer.page.get_by_text("of 40 pictures are masked").wait_for()
    assert 1 <= len(list(out.glob("*/picture.json"))) < 40


def ask_for_folder(surfer: Surfer, pictures: Path, out: Path) -> None:
    surfer.open_tab("LD-ZNet")
    surfer.fill("ldznet_tab_phrases", "red car")
    surfer.page.locator("#ldznet_modes > .tab-nav > button").nth(1).click()
    surfer.fill("ldznet_folder", str(pictures))
    surfer.fill("ldznet_out", str(out))
    surfer.click("ldznet_start")


@pytest.mark.slow
def test_strangers_name_no_folders(browser: Any, start: Start, miniature: Path) -> None:
    server = start("webui", miniature, "--hide-ui-dir-config")
    with surfing(browser, server.address) as surfer:
        surfer.open_tab("LD-ZNet")
        surfer.page.locator("#ldznet_modes > .tab-nav > button").nth(1).click()
        surfer.wait_for("#ldznet_folder_refused")
        assert surfer.page.locator("#ldznet_start").count() == 0


@pytest.mark.slow
def test_the_page_outlives_ten_reloads(browser: Any, server: Server, file: Path) -> None:
    for _ in range(10):
        server.reload_ui()
    with surfing(browser, server.address) as surfer:
        find(surfer, file)
        surfer.click("ldznet_send_to_inpaint")
        surfer.wait_for("#img_inpaint_mask img")
        assert surfer.page.locator("#txt2img_send_to_ldznet").count() == 1
        assert surfer.strange_errors == []


@pytest.mark.slow
class TestForge:
    """The same on Gradio 4, with SD 1.x in full size and a small head without taps."""

    def test_a_mask_goes_to_inpaint_upload(self, browser: Any, forge: Server, file: Path) -> None:
        with surfing(browser, forge.address) as surfer:
            find(surfer, file, "red car\nsky")
            surfer.wait_for("#ldznet_gallery .thumbnail-item img")
            masks = surfer.pictures("#ldznet_gallery .thumbnail-item img")
            assert len(masks) == 3
            surfer.page.locator("#ldznet_gallery .thumbnail-item").nth(1).click()
            surfer.page.wait_for_timeout(1000)
            surfer.click("ldznet_send_to_inpaint")
            surfer.wait_for("#img_inpaint_base img")
            surfer.wait_for("#img_inpaint_mask img")
            assert same(surfer.pictures("#img_inpaint_base img")[0], Image.open(file))
            assert same(surfer.pictures("#img_inpaint_mask img")[0], masks[1])
            size = surfer.value("img2img_width"), surfer.value("img2img_height")
            assert size == ("192", "128")
            assert surfer.strange_errors == []
        assert "Traceback" not in forge.log

    def test_a_picture_comes_from_under_the_gallery(self, browser: Any, forge: Server) -> None:
        with surfing(browser, forge.address) as surfer:
            generate(surfer, steps=1)
            surfer.click("txt2img_send_to_ldznet")
            surfer.wait_for("#ldznet_picture img")
            assert same(
                surfer.pictures("#ldznet_picture img")[0],
                surfer.pictures("#txt2img_gallery .thumbnail-item img")[0],
            )


def small_head() -> LDZNetHead:
    """A head for SD 1.x that nobody trained; it finds half of any picture to be anything."""
    torch.manual_seed(0)
    unet = UNetConfig(out_channels=1, model_channels=32, transformer_levels=1, num_heads=4)
    head = LDZNetHead(HeadConfig(family="sd1", unet=unet, taps=(), presence_threshold=0.01))
    with torch.no_grad():
        for parameter in head.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return head
