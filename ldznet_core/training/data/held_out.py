"""Which pictures a training does not see, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ...data_sets import Row, by_picture
from ...data_sets.shapes import Nothing
from ...world.draw import Draw, stable_hash
from .examples import Examples

_SHARE = 0.1


def hold_out(rows: Sequence[Row], pictures: int) -> tuple[list[Row], list[Row]]:
    """Rows to learn from, and those of some pictures that are kept back.

    Which ones depends on their names alone, not on their order, and not on the others; of those of
    one name in several folders, which come first.

    Args:
        rows: Of all pictures.
        pictures: How many to keep back; of few pictures at most a tenth, but one.
    """
    pictures_of = dict.fromkeys(row.picture for row in rows)  # in order, for those of one name
    names = sorted(pictures_of, key=lambda picture: stable_hash(picture.name))
    count = min(pictures, max(1, int(_SHARE * len(names)))) if len(names) > 1 else 0
    kept_back = set(names[:count])
    return (
        [row for row in rows if row.picture not in kept_back],
        [row for row in rows if row.picture in kept_back],
    )


def questions(rows: Sequence[Row], examples: Examples, count: int) -> list[Row]:
    """So many phrases of held-out pictures, and as many that name nothing there.

    Args:
        rows: Of the held-out pictures.
        examples: Of all rows, for absent phrases.
        count: How many of each; spread over the rows, always the same.

    Returns:
        The rows, those of a picture together.
    """
    present = [row for row in rows if not row.is_absent]
    step = max(1, len(present) // max(1, count))
    asked = present[::step][:count]
    for picture, group in groupby(list(asked), key=lambda row: row.picture):
        draw = Draw("questions", picture.name)
        for row in group:
            phrase = examples.absent_phrase(picture, draw)
            if phrase is not None:
                asked.append(Row(picture, phrase, Nothing(), is_absent=True, size=row.size))
    return by_picture(asked)
