"""The way into img2img: a picture and its mask go to "Inpaint upload", by components alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import gradio as gr
from modules import shared
from PIL import Image

from ldznet_core.pictures import to_picture

from .gradio_words import javascript

Component: TypeAlias = Any

PLACES = ("img_inpaint_base", "img_inpaint_mask", "img2img_width", "img2img_height")
"""The ids of the host's components that are filled."""

_SHOW = "() => { switch_to_img2img_tab(4); }"
"""The host's own function; 4 is "Inpaint upload", the mode whose mask is a picture."""


@dataclass(frozen=True, slots=True)
class Range:
    """What one of the host's sliders can be set to."""

    minimum: int
    maximum: int
    step: int

    def nearest(self, value: float) -> int:
        """The value that the slider would be left at."""
        steps = round((value - self.minimum) / self.step)
        last = (self.maximum - self.minimum) // self.step
        return self.minimum + min(max(steps, 0), last) * self.step


def connect(
    button: Component,
    inputs: list[Component],
    package: Callable[..., tuple[Image.Image, Image.Image] | None],
    places: dict[str, Component],
) -> None:
    """Have a button fill the host's picture, mask and size, and show them.

    Args:
        button: It is hidden where the host has no such places.
        inputs: What the package is made of.
        package: From their values to the picture and the "L" mask; None if there is none yet.
        places: The host's components by their ids, as far as they were seen.
    """
    if any(place not in places for place in PLACES):
        button.visible = False
        return
    width, height = (_range_of(places[name]) for name in PLACES[2:])

    def deliver(*values: Any) -> tuple[Any, ...]:
        packed = package(*values)
        if packed is None:
            return (gr.update(),) * len(PLACES)
        picture, mask = packed
        sides = size_for(picture.size, width, height) if shared.opts.send_size else ()
        return (to_picture(picture), mask.convert("RGB"), *(sides or (gr.update(),) * 2))

    sent = button.click(
        deliver, inputs, [places[name] for name in PLACES], show_progress=False, api_name=False
    )
    sent.success(None, None, None, **javascript(_SHOW))


def size_for(size: tuple[int, int], width: Range, height: Range) -> tuple[int, int]:
    """The (width, height) to repaint a picture at: its own, as near as two sliders come to it.

    >>> size_for((4096, 2000), Range(64, 2048, 8), Range(64, 2048, 8))
    (2048, 1000)
    """
    scale = min(1, width.maximum / size[0], height.maximum / size[1])
    return width.nearest(scale * size[0]), height.nearest(scale * size[1])


def _range_of(slider: Component) -> Range:
    return Range(int(slider.minimum), int(slider.maximum), int(slider.step or 8))
