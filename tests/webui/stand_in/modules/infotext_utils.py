"""Stands in for modules/infotext_utils.py."""

from __future__ import annotations

from typing import Any


def image_from_url_text(filedata: Any) -> Any:
    """The first of what a gallery sent; the host's own opens files."""
    return filedata[0] if filedata else None
