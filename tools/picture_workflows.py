"""Run the example workflows in a browser, and picture them for the template browser and the docs.

Start a ComfyUI that has the pack, with an empty ``--base-directory``. Install ``playwright`` and
``Pillow``; the browser may be any Chromium:

    python tools/picture_workflows.py --url http://127.0.0.1:8188 --chromium /usr/bin/chromium \
        --picture ComfyUI/input/example.png
"""

from __future__ import annotations

import argparse
import io
import json
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES, DOCS = ROOT / "example_workflows", ROOT / "docs"

THUMBNAIL_SIDE, THUMBNAIL_GAP = 400, 4
WIDTH, HEIGHT = 1560, 1300
"""Of the browser's page; its menus leave free what is within these edges."""
EDGES = {"left": 75, "top": 100, "right": 15, "bottom": 15}
SECONDS_PER_RUN = 300


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture that a workflow shows, by the class of its node and its place among them."""

    kind: str
    node: int = 0
    image: int = 0


LOADED = Tile("LoadImage")
"""What the workflow was given, rather than what it shows."""


TILES = {
    "1": (Tile("PreviewImage"), Tile("LDZNetSegment"), Tile("LDZNetSegment", 1), Tile("SaveImage")),
    "3": (LOADED, Tile("LDZNetSegmentImage"), Tile("PreviewImage", 0, 1), Tile("PreviewImage", 1)),
    "4": (
        Tile("PreviewImage"),
        Tile("LDZNetSegment"),
        Tile("PreviewImage", 1),
        Tile("PreviewImage", 2),
    ),
    "5": (
        Tile("PreviewImage"),
        Tile("LDZNetSegment"),
        Tile("PreviewImage", 1),
        Tile("LDZNetSegment", 1),
    ),
    "6": (
        Tile("PreviewImage"),
        Tile("LDZNetPromptMask"),
        Tile("PreviewImage", 1),
        Tile("PreviewImage", 1, 1),
    ),
}
"""By the number that a workflow's name begins with; the second needs files that users bring."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the thumbnails, and the screenshots of the first workflow."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="a running ComfyUI")
    parser.add_argument("--chromium", help="the browser, if not playwright's own")
    parser.add_argument(
        "--picture", type=Path, required=True, help="ComfyUI's own input/example.png"
    )
    options = parser.parse_args(arguments)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        _open(page, options.url)
        for path in sorted(EXAMPLES.glob("*.json")):
            _load(page, path)
            tiles = TILES.get(path.stem[0])
            _thumbnail(page, options.url, tiles, options.picture).save(
                path.with_suffix(".jpg"), quality=88
            )
            if path.stem.startswith("1"):
                _save_screenshots(page)
        browser.close()


def _open(page: Page, url: str) -> None:
    settings = {
        "Comfy.TutorialCompleted": True,  # else the template browser lies over the first workflow
        "Comfy.Minimap.Visible": False,
        "Comfy.Graph.CanvasInfo": False,
        "Comfy.Graph.LinkMarkers": 0,  # their dots would cover titles
        "Comfy.Workflow.ShowMissingModelsWarning": False,
    }
    _post(url + "/settings", settings)
    page.goto(url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=120_000)
    page.wait_for_timeout(3000)


def _load(page: Page, path: Path) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    script = "async ([workflow, name]) => await app.loadGraphData(workflow, true, true, name)"
    page.evaluate(script, [workflow, path.stem])
    page.wait_for_timeout(1500)


def _thumbnail(page: Page, url: str, tiles: Sequence[Tile] | None, loaded: Path) -> Image.Image:
    """What the workflow on the page shows when it has run, or itself if it cannot run here."""
    if tiles is None:
        picture = _screenshot_of_groups(page, 2)
        side = min(picture.size)
        small = picture.crop((0, 0, side, side))
        return small.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    if LOADED in tiles:
        _give(page, url, loaded)
    outputs = _run(page, url)
    return _collage(
        [
            Image.open(loaded).convert("RGB")
            if tile is LOADED
            else _picture(url, page, outputs, tile)
            for tile in tiles
        ]
    )


def _give(page: Page, url: str, picture: Path) -> None:
    """Put a picture into the host's input folder, under its own name."""
    file = {"name": picture.name, "mimeType": "image/png", "buffer": picture.read_bytes()}
    page.request.post(url + "/upload/image", multipart={"image": file, "overwrite": "true"})


def _run(page: Page, url: str) -> dict[str, Any]:
    """Queue what is on the page; return what its nodes showed, by their ids."""
    before = set(_get(url + "/history"))
    page.evaluate("async () => await app.queuePrompt(0, 1)")
    for _ in range(SECONDS_PER_RUN):
        page.wait_for_timeout(1000)
        history = _get(url + "/history")
        for number in history.keys() - before:
            status = history[number]["status"]
            if status["status_str"] != "success":
                raise RuntimeError(f"the workflow failed: {status['messages'][-1]}")
            page.wait_for_timeout(8000)  # until its pictures are drawn, and the notice is gone
            outputs: dict[str, Any] = history[number]["outputs"]
            return outputs
    raise TimeoutError(f"the workflow did not end within {SECONDS_PER_RUN} s")


def _picture(url: str, page: Page, outputs: dict[str, Any], tile: Tile) -> Image.Image:
    script = (
        "kind => app.graph._nodes.filter(n => n.type === kind).map(n => n.id).sort((a, b) => a - b)"
    )
    number = page.evaluate(script, tile.kind)[tile.node]
    file = outputs[str(number)]["images"][tile.image]
    with urllib.request.urlopen(f"{url}/view?{urllib.parse.urlencode(file)}") as answer:  # noqa: S310 (user's own)
        return Image.open(io.BytesIO(answer.read())).convert("RGBA")


def _collage(pictures: Sequence[Image.Image]) -> Image.Image:
    """Four pictures in a square."""
    side = (THUMBNAIL_SIDE - THUMBNAIL_GAP) // 2
    sheet = Image.new("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE), "#222")
    for number, picture in enumerate(pictures):
        place = tuple(index * (side + THUMBNAIL_GAP) for index in (number % 2, number // 2))
        small = picture.resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(small, place, small if small.mode == "RGBA" else None)
    return sheet


def _save_screenshots(page: Page) -> None:
    """The whole workflow, and the node that makes masks from near."""
    _fit(page, "app.graph._groups.map(group => [...group._bounding])")
    page.mouse.click(WIDTH // 4, HEIGHT - 100)  # nothing is there; it takes hints away
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(
        DOCS / "comfyui-workflow.png", optimize=True
    )
    _screenshot_of_groups(page, 1, first=2).save(DOCS / "comfyui-segment.png", optimize=True)


def _screenshot_of_groups(page: Page, count: int, first: int = 0) -> Image.Image:
    """The page, cut to some groups."""
    boxes = f"app.graph._groups.slice({first}, {first + count}).map(group => [...group._bounding])"
    left, top, right, bottom = _fit(page, boxes)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return picture.crop((left, top, right, bottom))


def _fit(page: Page, boxes: str) -> tuple[int, int, int, int]:
    """Move the view so that boxes (x, y, width, height) fill it; return where they are."""
    script = """([boxes, space]) => {
      const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1]));
      const width = Math.max(...boxes.map(b => b[0] + b[2])) - left;
      const height = Math.max(...boxes.map(b => b[1] + b[3])) - top;
      const view = app.canvas.canvas.getBoundingClientRect();
      const scale = Math.min((view.width - space.left - space.right) / width,
                             (view.height - space.top - space.bottom) / height);
      app.canvas.ds.scale = scale;
      app.canvas.ds.offset = [space.left / scale - left, space.top / scale - top];
      app.canvas.setDirty(true, true);
      const x = view.left + space.left, y = view.top + space.top;
      return [x, y, x + width * scale, y + height * scale].map(Math.round);
    }"""
    found = page.evaluate(script, [page.evaluate(boxes), EDGES])
    page.mouse.move(WIDTH - 5, HEIGHT - 5)
    page.wait_for_timeout(1500)
    return tuple(found)


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 (the user's own)
        found: dict[str, Any] = json.load(answer)
        return found


def _post(url: str, values: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(values).encode(), headers)  # noqa: S310 (the user's own)
    urllib.request.urlopen(request).close()  # noqa: S310 (the user's own)


if __name__ == "__main__":
    main()
