"""Settings in the words of an infotext; the panel reads them back when one is pasted."""

from __future__ import annotations

from .settings import FIELDS, Settings, text_of

_ALWAYS = ("phrases", "threshold", "source")
"""What is written even where it is the default."""


def written(settings: Settings) -> dict[str, str]:
    """What the infotext of a picture says of what was asked."""
    values = {field: getattr(settings, field.name) for field in FIELDS if field.infotext}
    return {
        field.infotext: str(text_of(field, value))
        for field, value in values.items()
        if field.name in _ALWAYS or value != field.default
    }
