"""Unselected prompts with the pictures, masks and inpaints that they give, on one sheet."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

from ...miniature import Miniature
from ...overlay import overlay
from ...segmentation import Segmentation
from ...segmenter import Segmenter
from ...world import Draw, Layout, all_phrases, caption, draw_phrases, render, thing_names
from ...world.objects import thing_named
from .prompts import paint_prompts

_COLUMNS = 4
_GAP = 8
_LINE = 14
_PHRASES = 4
_CHARACTERS = 60
_SIDE = 192


@dataclass(frozen=True, slots=True)
class Repainted:
    """A picture in which one thing became another."""

    prompt: str
    picture: Image.Image


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt, its picture, the masks read while it was painted, and its first thing repainted."""

    prompt: str
    picture: Image.Image
    masks: Segmentation
    repainted: Repainted | None
    """None where the thing was not found."""


def make_rows(
    miniature: Miniature, segmenter: Segmenter, world: str, count: int, steps: int, guidance: float
) -> list[Row]:
    """The first captions of the "iid" split, painted with their numbers as seeds.

    Each is asked for its things and stuff, and last for something absent. The masks come from the
    features captured while sampling, or from a probe where no step was heard, at the head's own
    threshold. Within the mask of the prompt's first thing, another one is painted.
    """
    rows = []
    painted = paint_prompts(
        miniature,
        segmenter.head.taps_of,
        world,
        count,
        steps=steps,
        guidance=guidance,
        name="sheet",
        window=segmenter.aim.window,
    )
    for layout, prompt, made in painted:
        phrases = _phrases(layout, miniature.image_side)
        features = segmenter.aim.nearest(made.captured)
        masks = segmenter.segment_sampled(
            made.latents, features, phrases, threshold=None, picture=made.image
        )
        repainted = None
        if masks.found[0]:
            wanted = _with_another_thing(layout)
            picture = miniature.inpaint(
                made.image, masks.masks[0], wanted, layout.index, steps, guidance=guidance
            )
            repainted = Repainted(wanted, picture)
        rows.append(Row(prompt, made.image, masks, repainted))
    return rows


def contact_sheet(rows: list[Row]) -> Image.Image:
    """The rows in columns: the picture, the same under its masks and what was said, the inpaint."""
    cells = [_cell(row) for row in rows]
    width = max(cell.width for cell in cells) + _GAP
    height = max(cell.height for cell in cells) + _GAP
    lines = -(-len(cells) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, lines * height + _GAP), "white")
    for index, cell in enumerate(cells):
        place = (_GAP + index % _COLUMNS * width, _GAP + index // _COLUMNS * height)
        sheet.paste(cell, place)
    return sheet


def _phrases(layout: Layout, side: int) -> list[str]:
    """The layout's first thing, what else its own scene shows, and one thing that it does not."""
    labels = render(layout, side).labels
    present = [phrase.text for phrase in all_phrases(layout, labels)]
    things = [thing.name for thing in layout.things]
    present.sort(key=lambda text: _place_of(text, things))
    absent = draw_phrases(layout, labels, Draw("sheet", layout.index), 1, absent=1.0)[0]
    return [*present[: _PHRASES - 1], absent.text]


def _place_of(text: str, things: list[str]) -> int:
    """The number of the thing that a phrase names; of stuff, that behind the last."""
    return next((place for place, name in enumerate(things) if name in text), len(things))


def _with_another_thing(layout: Layout) -> str:
    """The caption of the scene whose first thing is one that is not in it."""
    draw = Draw("sheet", "another thing", layout.index)
    there = {thing.name for thing in layout.things}
    name = draw.choice([each for each in thing_names(layout.world) if each not in there])
    colours = thing_named(name).colours
    first = replace(layout.things[0], name=name, colour=draw.choice(colours) if colours else None)
    return caption(replace(layout, things=(first, *layout.things[1:])), plain=True)


def _cell(row: Row) -> Image.Image:
    under_masks = overlay(row.picture, row.masks, _SIDE)
    side = under_masks.width
    shown = [row.picture, under_masks, *([row.repainted.picture] if row.repainted else [])]
    cell = Image.new("RGB", (3 * side, under_masks.height + _LINE), "white")
    for place, picture in enumerate(shown):
        size = (side, picture.height * side // picture.width)
        cell.paste(picture.resize(size, Image.Resampling.BICUBIC), (place * side, _LINE))
    draw = ImageDraw.Draw(cell)
    draw.text((2, 0), textwrap.shorten(row.prompt, _CHARACTERS), fill="black")
    if row.repainted:
        for number, line in enumerate(textwrap.wrap(row.repainted.prompt, _CHARACTERS // 3)):
            draw.text((2 * side + 4, _LINE + side + 2 + number * _LINE), line, fill="black")
    return cell
