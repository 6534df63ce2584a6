"""Flags made from a dataclass: its fields' types, defaults and descriptions."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Sequence
from types import NoneType
from typing import Any, NoReturn, TypeVar

Options = TypeVar("Options")
_HELP, _POSITIONAL = "help", "positional"


class UsageError(Exception):
    """The words of the command line do not make a command."""


def option(default: Any, description: str, *, positional: bool = False) -> Any:
    """A field that is a flag, or a word without one.

    A tuple is a flag that may be repeated, or words without a flag; a bool is a switch that is off
    by default. A name that Python keeps for itself has an underscore behind it: ``for_``.
    """
    metadata = {_HELP: description, _POSITIONAL: positional}
    return dataclasses.field(default=default, metadata=metadata)


def parse(
    command: str, summary: str, options: type[Options], words: Sequence[str]
) -> Options | None:
    """The options that the words give; None if they asked for help, which is then printed.

    Raises:
        UsageError: A word is not known, missing, or of another type.
    """
    parser = _Parser(prog=f"ldznet {command}", description=f"{summary}.", add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this text")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    types = typing.get_type_hints(options)
    fields = dataclasses.fields(options)  # type: ignore[arg-type]  # always a dataclass
    for field in fields:
        _add(parser, field, types[field.name])
    if "-h" in words or "--help" in words:
        print(parser.format_help(), end="")
        return None
    given = vars(parser.parse_args(list(words)))
    values = {field.name: _value(given[field.name], field) for field in fields}
    return options(**values)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and ending the process."""
        raise UsageError(f"{message}: see `{self.prog} --help`")


def _add(parser: _Parser, field: dataclasses.Field[Any], kind: Any) -> None:
    is_repeated = typing.get_origin(kind) is tuple
    inner = typing.get_args(kind)[0] if is_repeated else _without_none(kind)
    choices = typing.get_args(inner) if typing.get_origin(inner) is typing.Literal else None
    keywords: dict[str, Any] = {"help": _help_of(field)}
    if inner is bool:
        parser.add_argument(_flag(field.name), dest=field.name, action="store_true", **keywords)
        return
    keywords |= {"type": str if choices else inner, "choices": choices}
    if not field.metadata[_POSITIONAL]:
        keywords |= {"action": "append" if is_repeated else "store", "default": None}
        keywords["metavar"] = None if choices else field.name.upper()
        parser.add_argument(_flag(field.name), dest=field.name, **keywords)
    else:
        keywords["nargs"] = "+" if is_repeated else None
        parser.add_argument(
            field.name,
            metavar=None if choices else field.name.upper(),
            **{key: value for key, value in keywords.items() if value is not None},
        )


def _value(given: Any, field: dataclasses.Field[Any]) -> Any:
    if given is None:
        return field.default
    return tuple(given) if isinstance(given, list) else given


def _help_of(field: dataclasses.Field[Any]) -> str:
    text = str(field.metadata[_HELP])
    default = field.default
    if field.metadata[_POSITIONAL] or default is None or default is False or default in ((), ""):
        return text
    shown = ", ".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{text} (default: {shown})".replace("%", "%%")


def _without_none(kind: Any) -> Any:
    inner = [each for each in typing.get_args(kind) if each is not NoneType]
    is_optional = NoneType in typing.get_args(kind)
    return inner[0] if is_optional else kind


def _flag(name: str) -> str:
    return "--" + name.rstrip("_").replace("_", "-")
