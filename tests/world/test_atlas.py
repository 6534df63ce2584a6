"""The atlas has every thing in every style, fills its tiles, and names whose pictures it shows."""

from __future__ import annotations

import numpy as np
import pytest

from ldznet_core.world.objects import THINGS
from ldznet_core.world.tiles import ATLAS_FOLDER, MARGIN, PAINTS, STYLES, TILE, tile


@pytest.mark.parametrize("style", STYLES)
def test_every_thing_fills_its_tile(style: str) -> None:
    for thing in THINGS:
        picture = tile(thing.name, None, style)
        assert (picture.mode, picture.size) == ("RGBA", (TILE, TILE))
        rows, columns = np.nonzero(np.asarray(picture.getchannel("A")) > 8)
        longest = max(np.ptp(rows), np.ptp(columns)) + 1
        assert longest == pytest.approx(TILE - 2 * MARGIN, abs=2)


def test_names_are_unique_and_colours_known() -> None:
    nouns = [noun for thing in THINGS for noun in (thing.name, *thing.synonyms)]
    assert len(nouns) == len(set(nouns))
    assert {colour for thing in THINGS for colour in thing.colours} <= {*PAINTS}


def test_the_notice_names_every_atlas() -> None:
    notice = (ATLAS_FOLDER.parent / "NOTICE").read_text(encoding="utf-8")
    assert all(f"atlas/{style}.webp" in notice for style in STYLES)


def test_the_atlas_stays_small() -> None:
    assert sum(path.stat().st_size for path in ATLAS_FOLDER.iterdir()) < 2_200_000
