"""Draw the world's atlases from the three emoji sets that the NOTICE beside them names.

Fetch the sets with ``npm pack`` (@iconify-json/noto, @iconify-json/fluent-emoji and
@iconify-json/twemoji), unpack each, install ``resvg_py``, and give the three ``icons.json``:

    python tools/build_atlas.py --noto A/icons.json --fluent B/icons.json --twemoji C/icons.json

Each tile shows its picture cropped to what is visible and scaled to fill the tile but for a margin,
so that a scene's scale is the object's true extent. Rows of the table that come later are appended:
tiles keep their places. The first ones keep every shade, as networks were trained on them; later
ones are rounded to 32 shades a channel, which nobody sees and which halves the files.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ldznet_core.world.objects import THINGS  # noqa: E402 (the path is set just above)
from ldznet_core.world.tiles import ATLAS_FOLDER, MARGIN, STYLES, TILE  # noqa: E402

COLUMNS = 8
DRAWN_SIDE = 640
UNROUNDED = 24
_SHADE = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one lossless WebP for each style, and the index that they share."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for style in STYLES:
        parser.add_argument(f"--{style}", type=Path, required=True, help="the set's icons.json")
    options = parser.parse_args(arguments)
    keys = [thing.key for thing in THINGS]
    ATLAS_FOLDER.mkdir(exist_ok=True)
    for style in STYLES:
        icons = json.loads(getattr(options, style).read_text(encoding="utf-8"))
        atlas = build_atlas(icons, keys)
        atlas.save(ATLAS_FOLDER / f"{style}.webp", lossless=True, quality=100, method=6)
    index = json.dumps({"columns": COLUMNS, "keys": keys}, indent=1) + "\n"
    (ATLAS_FOLDER / "index.json").write_text(index, encoding="utf-8")


def build_atlas(icons: dict[str, Any], keys: Sequence[str]) -> Image.Image:
    """All tiles of one style in a grid, row by row, as RGBA."""
    rows = math.ceil(len(keys) / COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * TILE, rows * TILE))
    for position, key in enumerate(keys):
        row, column = divmod(position, COLUMNS)
        tile = draw_tile(icons, key)
        atlas.paste(tile if position < UNROUNDED else rounded(tile), (column * TILE, row * TILE))
    return atlas


def rounded(tile: Image.Image) -> Image.Image:
    """An RGBA tile in fewer shades; black where it cannot be seen."""
    levels = np.asarray(tile).astype(int)
    colour, alpha = levels[..., :3], levels[..., 3:]
    alpha = np.where(alpha > 255 - _SHADE, 255, alpha // _SHADE * _SHADE)
    colour = np.minimum(255, (colour + _SHADE // 2) // _SHADE * _SHADE) * (alpha > 0)
    return Image.fromarray(np.concatenate([colour, alpha], axis=2).astype(np.uint8))


def draw_tile(icons: dict[str, Any], key: str) -> Image.Image:
    """One picture, cropped to what is visible, centred and fitted into a tile."""
    icon = icons["icons"][key]
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=DRAWN_SIDE))
    drawn = Image.open(io.BytesIO(png)).convert("RGBA")
    visible = drawn.crop(drawn.getchannel("A").point(lambda alpha: alpha > 8 and 255).getbbox())
    factor = (TILE - 2 * MARGIN) / max(visible.size)
    fitted = visible.resize(
        (round(visible.width * factor), round(visible.height * factor)), Image.Resampling.LANCZOS
    )
    tile = Image.new("RGBA", (TILE, TILE))
    tile.paste(fitted, ((TILE - fitted.width) // 2, (TILE - fitted.height) // 2))
    return tile


if __name__ == "__main__":
    main()
