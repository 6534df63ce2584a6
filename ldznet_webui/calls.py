"""Who is at work on a processing object: the host itself, and the script chosen in it."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

_PROCESSING = "process_images"
"""The hosts' function that makes pictures of a `p` (modules/processing.py, all three)."""

_LISTING = ("Prompts from file or textbox",)
"""Titles of scripts that show all that they are given, and put nothing together from it."""


def is_being_processed(p: Any) -> bool:
    """Whether the host makes pictures of this very object now, in a call that led here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == _PROCESSING and frame.f_locals.get("p") is p:
            return True
        frame = frame.f_back
    return False


def script_that_assembles(p: Any) -> str:
    """The title of the script chosen under "Script" if it may make one picture of several, or "".

    Such as "SD upscale" take all that comes back for their tiles.
    """
    try:
        number = int(p.script_args[0])
        title = str(p.scripts.selectable_scripts[number - 1].title()) if number > 0 else ""
    except (AttributeError, IndexError, TypeError, ValueError):
        return ""
    return "" if title in _LISTING else title
