"""Data sets of phrases and masks, read as their authors publish them."""

from __future__ import annotations

from .folder import FORMATS, Format, read_data
from .refer import Partition
from .rows import Row, by_picture, check_rows

__all__ = ["FORMATS", "Format", "Partition", "Row", "by_picture", "check_rows", "read_data"]
