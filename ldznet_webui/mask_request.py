"""A request for masks as it comes over HTTP: what it may say, and what it may not.

It is read by the table of settings, and not by models of pydantic, of which A1111 and Forge have
different versions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from PIL import Image

from ldznet_core import InputError

from .settings import MOST_PHRASES, Settings, json_schema
from .wire import picture_of

SETTINGS = (
    "phrases",
    "negative_phrases",
    "threshold",
    "head",
    "grow",
    "feather",
    "invert",
    "keep_absent",
    "overlay",
)
"""What of the table a request may say; the rest is about generating."""

MOST_MASK_PIXELS = 2**26
"""Of all phrases and negatives together; each takes some thirty bytes while it is made."""


@dataclass(frozen=True, slots=True)
class MaskRequest:
    """What a client asks for, checked."""

    picture: Image.Image
    settings: Settings


def request_schema() -> dict[str, Any]:
    """The JSON schema of a request for masks."""
    known = json_schema()["properties"]
    image = {
        "type": "string",
        "title": "Picture",
        "description": "PNG, JPEG, WebP or BMP in base64, with or without data:image/...;base64,",
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["image", "phrases"],
        "properties": {"image": image, **{name: known[name] for name in SETTINGS}},
    }


def read_request(body: bytes) -> MaskRequest:
    """The request in a body of JSON; what is cheap to check is checked first.

    Raises:
        InputError: It cannot be used.
    """
    try:
        values = json.loads(body, parse_constant=_refuse_constant)
        if not isinstance(values, dict):
            raise InputError(f"expected a JSON object, got {type(values).__name__}: send names")
        settings = _read_settings({name: values[name] for name in values if name != "image"})
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"expected JSON, got something else ({error!s:.80}): correct it"
        ) from error
    if "image" not in values:
        raise InputError("expected a picture as image, got none: send one in base64")
    picture = picture_of(values["image"])
    asked = picture.width * picture.height * _phrases_of(settings)
    if asked > MOST_MASK_PIXELS:
        raise InputError(
            f"expected masks of at most {MOST_MASK_PIXELS} pixels together, got {asked}: scale the "
            "picture down, or ask for fewer phrases at once"
        )
    return MaskRequest(picture, settings)


def _read_settings(values: dict[str, Any]) -> Settings:
    unknown = [name for name in values if name not in SETTINGS]
    if unknown:
        raise InputError(
            f"expected image, {', '.join(SETTINGS)}, got {unknown[0][:80]!r}: check its spelling"
        )
    settings = Settings.of_arguments([{**values, "source": "probe"}])
    settings.check()
    if _phrases_of(settings) > MOST_PHRASES:
        raise InputError(
            f"expected at most {MOST_PHRASES} phrases and negative ones together, got "
            f"{_phrases_of(settings)}: ask several times"
        )
    return settings


def _phrases_of(settings: Settings) -> int:
    return len(settings.phrases) + len(settings.negative_phrases)


def _refuse_constant(name: str) -> NoReturn:
    raise InputError(f"expected numbers, got {name}: JSON has no such value")
