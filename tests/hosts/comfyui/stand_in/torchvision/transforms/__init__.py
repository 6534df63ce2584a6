"""Transforms: names that may be imported and made, and that nothing may call."""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

from . import functional

__all__ = ["Compose", "InterpolationMode", "Normalize", "Resize", "ToTensor", "functional"]


class InterpolationMode(Enum):
    """The modes that ComfyUI names."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class _Transform:
    def __init__(self, *arguments: object, **options: object) -> None:
        pass

    def __call__(self, *arguments: object) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} is not in the tests' stand-in")


class Compose(_Transform):
    """Never called."""


class Normalize(_Transform):
    """Never called."""


class Resize(_Transform):
    """Never called."""


class ToTensor(_Transform):
    """Never called."""
