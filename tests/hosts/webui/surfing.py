"""A browser on a WebUI's page, as far as users touch it."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

MILLISECONDS = 240_000

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OWN_ERRORS = ("reading 'props'",)
"""What A1111 1.10.1 says at every load, whatever its extensions."""


class Surfer:
    """A user before the page."""

    def __init__(self, page: Any, url: str) -> None:
        """Open the page of a WebUI."""
        self.page = page
        self.errors: list[str] = []
        page.set_default_timeout(MILLISECONDS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url, wait_until="domcontentloaded")
        page.wait_for_selector("#txt2img_prompt textarea")
        page.wait_for_function("() => window.gradio_config && opts && Object.keys(opts).length")

    @property
    def strange_errors(self) -> list[str]:
        """What went wrong in the page, but for what the host does by itself."""
        return [each for each in self.errors if not any(own in each for own in _OWN_ERRORS)]

    def open_tab(self, title: str) -> None:
        """Choose one of the tabs at the top."""
        button = self.page.locator("#tabs > .tab-nav > button")
        button.get_by_text(title, exact=True).or_(button.filter(has_text=title)).first.click()

    def fill(self, element: str, text: str | float) -> None:
        """Write into a text or a number field."""
        field = f"#{element} textarea, #{element} input[type=number], #{element} input[type=text]"
        self.page.locator(field).first.fill(str(text))
        self.page.keyboard.press("Tab")

    def value(self, element: str) -> str:
        """What a text or a number field holds."""
        field = f"#{element} textarea, #{element} input[type=number]"
        value: str = self.page.locator(field).first.input_value()
        return value

    def click(self, element: str) -> None:
        """Press a button."""
        self.page.locator(f"#{element}").first.click()

    def unfold(self, tab: str) -> None:
        """Switch LD-ZNet on in txt2img or img2img."""
        self.page.locator(f"#ldznet_{tab} .label-wrap").first.click()

    def give(self, element: str, picture: Path) -> None:
        """Choose a file for an image field."""
        self.page.locator(f"#{element} input[type=file]").first.set_input_files(str(picture))
        self.page.wait_for_selector(f"#{element} img")

    def wait_for(self, selector: str) -> None:
        """Return once something is visible."""
        self.page.wait_for_selector(selector)

    def text(self, element: str) -> str:
        """What an element says."""
        text: str = self.page.locator(f"#{element}").first.inner_text()
        return text

    def pictures(self, selector: str) -> list[Image.Image]:
        """The pictures of images on the page, bit for bit as the server sent them."""
        images = self.page.locator(selector)  # at once, for the page may draw some of them anew
        sources = images.evaluate_all("images => images.map(image => image.src)")
        return [self._picture(source) for source in sources]

    def _picture(self, source: str) -> Image.Image:
        if source.startswith("data:"):
            data = base64.b64decode(source.partition(",")[2])
        else:
            data = self.page.request.get(source).body()
        picture = Image.open(io.BytesIO(data))
        picture.load()
        return picture


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="found no playwright: install it, and Chromium"
    )
    named = os.environ.get("LDZNET_CHROMIUM")
    program = named or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if program is None:
        pytest.skip("found no Chromium: install one, or set LDZNET_CHROMIUM")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def surfing(browser: Any, address: str) -> Iterator[Surfer]:
    """A user who has just opened the page of a server, in a wide window."""
    page = browser.new_page(viewport={"width": 1400, "height": 1250})
    try:
        yield Surfer(page, f"http://{address}/")
    finally:
        page.close()
