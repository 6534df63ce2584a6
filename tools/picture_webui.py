"""Picture the WebUI's panel and tab for the docs, in a browser.

Start an A1111 that has the extension, with the miniature (``ldznet export-miniature DIR --for
webui``) and an empty ``--data-dir``. Install ``playwright`` and ``Pillow``; the browser may be any
Chromium:

    python tools/picture_webui.py --url http://127.0.0.1:7860 --chromium /usr/bin/chromium
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parent.parent / "docs"

WIDTH, HEIGHT = 1280, 1500
PROMPT, SEED = "a red car in a meadow", 5
PHRASES = "red car\nsky\nowl"
INPAINTED = "a turtle in a meadow"
SIDE, GUIDANCE = 128, 3
"""The miniature's own size, and what its colours bear."""
GROWN = 4
"""Pixels, so that no rim of the car is left."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:7860", help="a running WebUI")
    parser.add_argument("--chromium", help="the browser, if not playwright's own")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the pictures")
    options = parser.parse_args(arguments)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(300_000)
        page.goto(options.url, wait_until="domcontentloaded")
        page.wait_for_selector("#txt2img_prompt textarea")
        page.wait_for_timeout(3000)
        _generate(page)
        _save(page, options.out / "webui-panel.png", 1230)
        _find(page)
        _save(page, options.out / "webui-tab.png")
        _inpaint(page)
        _save(page, options.out / "webui-inpaint.png", 900)
        browser.close()


def _generate(page: Page) -> None:
    """Paint a picture with masks."""
    _fill(page, "txt2img_prompt", PROMPT)
    sizes = {"width": SIDE, "height": SIDE, "steps": 20, "seed": SEED, "cfg_scale": GUIDANCE}
    for name, value in sizes.items():
        _fill(page, f"txt2img_{name}", str(value))
    page.locator("#ldznet_txt2img .label-wrap").first.click()
    _fill(page, "ldznet_txt2img_phrases", PHRASES)
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_gallery .thumbnail-small:nth-of-type(4) img")
    page.wait_for_selector("#html_info_txt2img p")


def _find(page: Page) -> None:
    """Take the picture into the tab, and choose the first phrase's mask there."""
    page.click("#txt2img_send_to_ldznet")
    page.wait_for_selector("#ldznet_picture img")
    _fill(page, "ldznet_tab_phrases", PHRASES)
    _fill(page, "ldznet_tab_grow", str(GROWN))
    page.click("#ldznet_find")
    page.wait_for_selector("#ldznet_overlay img")
    page.locator("#ldznet_gallery .thumbnail-item").nth(1).click()


def _inpaint(page: Page) -> None:
    """Send the mask, and repaint what it covers."""
    page.wait_for_timeout(1000)
    page.click("#ldznet_send_to_inpaint")
    page.wait_for_selector("#img_inpaint_mask img")
    _fill(page, "img2img_prompt", INPAINTED)
    values = {"denoising_strength": 1, "steps": 30, "seed": SEED, "cfg_scale": GUIDANCE}
    for name, value in values.items():
        _fill(page, f"img2img_{name}", str(value))
    page.click("#img2img_generate")
    page.wait_for_selector("#img2img_gallery .thumbnail-item img")
    page.wait_for_selector("#html_info_img2img p")


def _fill(page: Page, element: str, text: str) -> None:
    page.locator(f"#{element} textarea, #{element} input[type=number]").first.fill(text)
    page.keyboard.press("Tab")


def _save(page: Page, path: Path, height: int | None = None) -> None:
    """The page below the choice of checkpoints, down to a height where that is less."""
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement?.blur()")
    page.wait_for_timeout(2500)  # until notices are gone and pictures are drawn
    shot = Image.open(io.BytesIO(page.locator("#tabs").screenshot())).convert("RGB")
    shot.crop((0, 0, shot.width, min(height or shot.height, shot.height))).save(path, optimize=True)


if __name__ == "__main__":
    main()
