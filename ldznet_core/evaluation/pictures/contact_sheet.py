"""Unselected prompts with the pictures and masks that they give, on one sheet for the eye."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw

from ...miniature import Miniature
from ...overlay import overlay
from ...segmentation import Segmentation
from ...segmenter import Segmenter
from ...world import Draw, Layout, all_phrases, draw_phrases, render
from .prompts import paint_prompts

_COLUMNS = 4
_GAP = 8
_LINE = 14
_PHRASES = 4
_CHARACTERS = 62
_SIDE = 192


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt, its picture, and the masks read while it was painted."""

    prompt: str
    picture: Image.Image
    masks: Segmentation


def make_rows(
    miniature: Miniature, segmenter: Segmenter, world: str, count: int, steps: int, guidance: float
) -> list[Row]:
    """The first captions of the "iid" split, painted with their numbers as seeds.

    Each is asked for its things and stuff, and last for something absent. The masks come from the
    features captured while sampling, or from a probe where no step was heard, at the head's own
    threshold.
    """
    rows = []
    painted = paint_prompts(
        miniature, segmenter, world, count, steps=steps, guidance=guidance, name="sheet"
    )
    for layout, prompt, made in painted:
        phrases = _phrases(layout, miniature.image_side)
        masks = segmenter.segment_sampled(made.latents, made.features, phrases, threshold=None)
        rows.append(Row(prompt, made.image, masks))
    return rows


def contact_sheet(rows: list[Row]) -> Image.Image:
    """The rows in columns: the picture, the same under its masks, and what was said of each."""
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
    """What the layout's own scene shows, and one thing that it does not."""
    labels = render(layout, side).labels
    present = [phrase.text for phrase in all_phrases(layout, labels)]
    things = {thing.name for thing in layout.things}
    present.sort(key=lambda text: not any(name in text for name in things))
    absent = draw_phrases(layout, labels, Draw("sheet", layout.index), 1, absent=1.0)[0]
    return [*present[: _PHRASES - 1], absent.text]


def _cell(row: Row) -> Image.Image:
    under_masks = overlay(row.picture, row.masks, _SIDE)
    side = under_masks.width
    cell = Image.new("RGB", (2 * side, under_masks.height + _LINE), "white")
    text = row.prompt if len(row.prompt) <= _CHARACTERS else f"{row.prompt[:_CHARACTERS]}..."
    ImageDraw.Draw(cell).text((2, 0), text, fill="black")
    cell.paste(row.picture.resize((side, side), Image.Resampling.BICUBIC), (0, _LINE))
    cell.paste(under_masks, (side, _LINE))
    return cell
