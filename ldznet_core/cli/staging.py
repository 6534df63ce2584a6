"""Results that appear all together, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..whole_files import room_beside


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to write into, whose files move to ``out`` once the block has ended well.

    An error leaves ``out`` as it was, and does not make it.

    Raises:
        InputError: ``out`` is a file, or lies in one.
    """
    with room_beside(out) as draft:
        yield draft
        for path in sorted(draft.rglob("*")):
            target = out / path.relative_to(draft)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
