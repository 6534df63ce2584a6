"""What a user may set: one table, from which the panel, the infotext and the API are made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ldznet_core import InputError
from ldznet_core.auto_head import AUTO_HEAD
from ldznet_core.phrases import check_negatives, check_phrases, parse_phrases

Kind: TypeAlias = Literal["flag", "lines", "number", "whole", "choice", "name"]
Source: TypeAlias = Literal["auto", "sampling", "probe"]

MOST_PHRASES = 64
LONGEST_PHRASE = 1000


@dataclass(frozen=True, slots=True)
class Field:
    """One setting: what it is, how it looks, and what it is called in an infotext."""

    name: str
    kind: Kind
    default: Any
    label: str
    info: str
    infotext: str = ""
    """Key in the infotext; empty if it says nothing about the masks."""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    is_img2img_only: bool = False

    def read(self, value: Any) -> Any:
        """A value from a component, a request or an infotext, checked.

        Raises:
            InputError: It is of another kind, or out of range.
        """
        return _READERS[self.kind](self, value)


def _flag(field: Field, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _misfit(field, "true or false", value)
    return value


def _lines(field: Field, value: Any) -> tuple[str, ...]:
    phrases = parse_phrases(value) if isinstance(value, str) else value
    if not isinstance(phrases, list | tuple):
        raise _misfit(field, "phrases as a list, or as text with one a line", value)
    if len(phrases) > MOST_PHRASES:
        raise _misfit(field, f"at most {MOST_PHRASES} phrases", f"{len(phrases)}")
    checked = check_phrases(phrases) if phrases else ()
    longest = max(map(len, checked), default=0)
    if longest > LONGEST_PHRASE:
        raise _misfit(field, f"phrases of at most {LONGEST_PHRASE} characters", f"one of {longest}")
    return checked


def _number(field: Field, value: Any) -> float:
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    least, most = field.minimum or 0, field.maximum or math.inf
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise _misfit(field, f"a number from {least:g} to {most:g}", value)
    return float(value)


def _whole(field: Field, value: Any) -> int:
    number = _number(field, value)
    if number != int(number):
        raise _misfit(field, "a whole number", value)
    return int(number)


def _choice(field: Field, value: Any) -> str:
    if value not in field.choices:
        raise _misfit(field, f"one of {', '.join(field.choices)}", value)
    return str(value)


def _name(field: Field, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _misfit(field, "a name", value)
    return value.strip()


_READERS = {
    "flag": _flag,
    "lines": _lines,
    "number": _number,
    "whole": _whole,
    "choice": _choice,
    "name": _name,
}


def _misfit(field: Field, expected: str, value: object) -> InputError:
    shown = value if isinstance(value, str) else repr(value)
    return InputError(
        f"expected {expected} as {field.name}, got {shown[:80]}: correct it, or leave it out"
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked of LD-ZNet; a field each of `FIELDS`, and with its default."""

    enabled: bool = False
    phrases: tuple[str, ...] = ()
    negative_phrases: tuple[str, ...] = ()
    threshold: float = 0.5
    source: Source = "auto"
    head: str = AUTO_HEAD
    grow: int = 0
    feather: int = 0
    invert: bool = False
    append: bool = True
    overlay: bool = False
    save: bool = False
    use_as_mask: bool = False
    keep_absent: bool = False

    @classmethod
    def of_mapping(cls, values: Mapping[str, Any]) -> Settings:
        """Settings by their names; what is left out has its default.

        Raises:
            InputError: A name is unknown, or a value cannot be used.
        """
        unknown = [name for name in values if name not in BY_NAME]
        if unknown:
            raise InputError(
                f"expected settings of {', '.join(BY_NAME)}, got {str(unknown[0])[:80]!r}: "
                "check its spelling"
            )
        return cls(**{name: BY_NAME[name].read(value) for name, value in values.items()})

    @classmethod
    def of_arguments(cls, arguments: Sequence[Any]) -> Settings:
        """Settings as a script gets them: the panel's values in order, or one mapping by name.

        Who names settings in a request wants masks: then `enabled` need not be said.

        Raises:
            InputError: A name is unknown, or a value cannot be used.
        """
        return cls.of_mapping(_named(arguments))

    def check(self) -> None:
        """Refuse to work without a phrase, or with one that cannot be asked.

        Raises:
            InputError: There is none, or one is no text.
        """
        check_phrases(self.phrases)
        check_negatives(self.negative_phrases)


def ask_for_mask(arguments: Sequence[Any]) -> bool:
    """Whether a script's arguments ask for an inpaint mask, or may do so where they are refused."""
    given = _named(arguments)
    return all(_may_be(name, given) for name in ("enabled", "use_as_mask"))


def _named(arguments: Sequence[Any]) -> dict[str, Any]:
    """A script's arguments by name, unread."""
    if arguments and isinstance(arguments[0], Mapping):
        return {"enabled": True, **arguments[0]}
    return dict(zip(BY_NAME, arguments, strict=False))


def _may_be(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a flag is set, or something that is no flag at all."""
    field = BY_NAME[name]
    try:
        return bool(field.read(given.get(name, field.default)))
    except InputError:
        return True


FIELDS = (
    Field(
        "enabled",
        "flag",
        False,
        "LD-ZNet",
        "Make masks of what the phrases name, in every picture.",
    ),
    Field(
        "phrases",
        "lines",
        (),
        "Phrases",
        "What to mask, one phrase a line; each gets a mask of its own.",
        infotext="LD-ZNet phrases",
    ),
    Field(
        "negative_phrases",
        "lines",
        (),
        "Negative phrases",
        "What to take out of every mask, one a line; what is not there takes nothing.",
        infotext="LD-ZNet negative phrases",
    ),
    Field(
        "threshold",
        "number",
        0.5,
        "Threshold",
        "How sure a pixel must be to join the mask. Lower: a larger mask.",
        infotext="LD-ZNet threshold",
        minimum=0.01,
        maximum=0.99,
        step=0.01,
    ),
    Field(
        "source",
        "choice",
        "auto",
        "Features",
        "auto: what was recorded while sampling, or one extra pass if there is nothing; sampling: "
        "only what was recorded; probe: always one extra pass (heads of the paper's design: one "
        "per phrase).",
        infotext="LD-ZNet source",
        choices=("auto", "sampling", "probe"),
    ),
    Field(
        "head",
        "name",
        AUTO_HEAD,
        "Head",
        "What makes the masks. auto: the first head that fits the checkpoint, or training-free; "
        "training-free: needs no file, reads the model's own attention; others: built-in heads, "
        "and your files in models/ldznet (or --ldznet-dir).",
        infotext="LD-ZNet head",
    ),
    Field(
        "grow",
        "whole",
        0,
        "Grow, pixels",
        "Expand the mask by this many pixels.",
        infotext="LD-ZNet grow",
        minimum=0,
        maximum=256,
        step=1,
    ),
    Field(
        "feather",
        "whole",
        0,
        "Feather, pixels",
        "Soften the edge over this many pixels on each side.",
        infotext="LD-ZNet feather",
        minimum=0,
        maximum=256,
        step=1,
    ),
    Field(
        "invert",
        "flag",
        False,
        "Invert",
        "Swap black and white in the masks.",
        infotext="LD-ZNet invert",
    ),
    Field(
        "append", "flag", True, "Show masks", "Show the masks after the pictures, one per phrase."
    ),
    Field(
        "overlay", "flag", False, "Show overlay", "Also show the picture with its masks in colour."
    ),
    Field(
        "save", "flag", False, "Save masks", "Save the masks as PNG files, next to the pictures."
    ),
    Field(
        "use_as_mask",
        "flag",
        False,
        "Use as inpaint mask",
        "Repaint only what the phrases name in the input picture: all of it, as one mask. Where "
        "you have drawn a mask too: only what lies inside both, or with Inpaint not masked, "
        "outside both.",
        infotext="LD-ZNet inpaint",
        is_img2img_only=True,
    ),
    Field(
        "keep_absent",
        "flag",
        False,
        "Keep absent",
        "Make a mask even where the score says that the thing is not there.",
        infotext="LD-ZNet keep absent",
    ),
)
"""Every setting, in the order of the panel; new ones go to the end, for requests may count them."""

BY_NAME = {field.name: field for field in FIELDS}


def text_of(field: Field, value: Any) -> str | float | bool:
    """A setting's value as a component, an infotext or JSON shows it."""
    return "\n".join(value) if field.kind == "lines" else value


def json_schema() -> dict[str, Any]:
    """The settings as a JSON schema, such as a program that writes requests can read."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {field.name: _schema_of(field) for field in FIELDS},
    }


def _schema_of(field: Field) -> dict[str, Any]:
    types: dict[Kind, dict[str, Any]] = {
        "flag": {"type": "boolean"},
        "lines": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
        "number": {"type": "number"},
        "whole": {"type": "integer"},
        "choice": {"type": "string", "enum": list(field.choices)},
        "name": {"type": "string"},
    }
    default = list(field.default) if field.kind == "lines" else field.default
    schema = {**types[field.kind], "title": field.label, "description": field.info}
    limits = {"minimum": field.minimum, "maximum": field.maximum}
    return {
        **schema,
        "default": default,
        **{name: limit for name, limit in limits.items() if limit is not None},
    }
