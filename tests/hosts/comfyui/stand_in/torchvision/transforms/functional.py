"""Functions on pictures: none."""

from __future__ import annotations

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    raise NotImplementedError(f"transforms.functional.{name} is not in the tests' stand-in")
