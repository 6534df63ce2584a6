"""What the masks of phrases are called on disk."""

from __future__ import annotations

import re
from collections.abc import Sequence


def mask_names(phrases: Sequence[str]) -> list[str]:
    """A file name for each phrase, without its ending; safe on every system, and no two alike.

    >>> mask_names(["red car", "Red car!"])
    ['mask-red-car', 'mask-red-car-2']
    """
    names: list[str] = []
    for phrase in phrases:
        stem = "mask-" + (re.sub(r"[^\w]+", "-", phrase.lower()).strip("-")[:60] or "phrase")
        number = 1
        while (name := f"{stem}{f'-{number}' if number > 1 else ''}") in names:
            number += 1
        names.append(name)
    return names
