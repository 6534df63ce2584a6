"""What is written and said of a segmentation, by every command that makes one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ..naming import mask_names
from ..overlay import mask_image
from ..segmentation import Segmentation

if TYPE_CHECKING:
    from PIL.Image import Image


class PhraseReport(TypedDict):
    """One phrase of ``report.json``."""

    phrase: str
    score: float
    found: bool
    area: float  # share of the picture's pixels
    mask: str  # file name


def write_masks(
    segmentation: Segmentation, folder: Path, size: tuple[int, int] | None = None
) -> list[PhraseReport]:
    """Write ``mask-<phrase>.png`` for each phrase (8 bits, 255 inside) and say what it holds.

    Args:
        segmentation: The masks.
        folder: Where they go.
        size: (height, width) of the files, to which masks are enlarged; None is their own.
    """
    reports: list[PhraseReport] = []
    names = [f"{stem}.png" for stem in mask_names(segmentation.phrases)]
    for index, (phrase, name) in enumerate(zip(segmentation.phrases, names, strict=True)):
        _enlarged(mask_image(segmentation, index), size).save(folder / name)
        reports.append(
            {
                "phrase": phrase,
                "score": round(segmentation.scores[index], 4),
                "found": segmentation.found[index],
                "area": round(float(segmentation.masks[index].mean()), 4),
                "mask": name,
            }
        )
    return reports


def table(reports: Sequence[PhraseReport]) -> str:
    """The reports as lines of text."""
    width = max([len("phrase"), *(len(each["phrase"]) for each in reports)])
    lines = [f"{'phrase':<{width}}  found  score   area  mask"]
    for each in reports:
        found = "yes" if each["found"] else "no"
        lines.append(
            f"{each['phrase']:<{width}}  {found:<5}  {each['score']:5.2f}  "
            f"{each['area']:5.1%}  {each['mask']}"
        )
    return "\n".join(lines)


def _enlarged(mask: Image, size: tuple[int, int] | None) -> Image:
    """A mask of 0 and 255 at another size, its edges smooth."""
    from PIL import Image

    if size is None or (mask.height, mask.width) == size:
        return mask
    soft = mask.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return soft.point([0] * 128 + [255] * 128)
