"""The miniature's world: scenes of emoji with captions, phrases and masks that are known exactly.

    layout = draw_layout("small", "train", 7)
    scene = render(layout, 128)
    text = caption(layout, Draw("captions", 7))
    phrases = draw_phrases(layout, scene.labels, Draw("phrases", 7), count=4)
    mask = mask_of(scene.labels, phrases[0].regions)

Every draw is named by words and numbers, and is the same on every machine.
"""

from __future__ import annotations

from .captions import CaptionRates, caption
from .draw import Draw
from .layout import (
    SPLITS,
    WORLDS,
    Layout,
    Placed,
    World,
    background_names,
    caption_only_names,
    draw_layout,
    held_out_pairs,
    masked_names,
    scenes_with_masks,
    thing_names,
)
from .outside import outside_nouns
from .phrases import all_phrases, draw_phrases, mask_of, vocabulary
from .scenes import Region, Scene, regions_of, render
from .sheet import contact_sheet
from .wording import Phrase

__all__ = [
    "SPLITS",
    "WORLDS",
    "CaptionRates",
    "Draw",
    "Layout",
    "Phrase",
    "Placed",
    "Region",
    "Scene",
    "World",
    "all_phrases",
    "background_names",
    "caption",
    "caption_only_names",
    "contact_sheet",
    "draw_layout",
    "draw_phrases",
    "held_out_pairs",
    "mask_of",
    "masked_names",
    "outside_nouns",
    "regions_of",
    "render",
    "scenes_with_masks",
    "thing_names",
    "vocabulary",
]
