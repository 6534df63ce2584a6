"""The flags of ``ldznet evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..auto_head import AUTO_HEAD
from ..data_sets import Format, Partition
from ..miniature.sampling import GUIDANCE
from .models import HEAD, DType
from .options import option

OWN = "own"
"""A split that is not named."""

What = Literal[
    "masks",
    "protocols",
    "vae",
    "recognition",
    "agreement",
    "calibration",
    "sheet",
    "ranked-sheet",
    "training-free",
    "training-free-sheet",
    "looks",
    "whole-prompt",
    "edges",
    "all",
]


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    what: What = option(
        "all",
        "what is measured; protocols are CLIPSeg's and PhraseCut's, as of a data set, agreement "
        "holds masks of generated pictures against those of a plain RGB segmenter, calibration "
        "writes the head's thresholds, a sheet is a picture (ranked: of the best, median and worst "
        "masks), training-free compares ways without a trained head, looks what trained heads are "
        "shown (captured or probed, when, under which text), whole-prompt the maps of what prompts "
        "are about, edges the filters that may snap masks to a picture",
    )
    world: str = option("small", "the world's name")
    split: str = option(
        OWN,
        'the split that masks and VAE are measured on; "own": iid of scenes, the usual one of a '
        "data set; several of a data set or for protocols may have commas between them; "
        '"gen": iid, painted anew, for masks',
    )
    count: int = option(
        200, "scenes for masks, protocols, VAE, calibration, comparisons and other sheets"
    )
    validation: int = option(100, "scenes that choose the thresholds of what is compared")
    samples: int = option(100, "pictures for recognition, agreement and the sheet of prompts")
    steps: int = option(20, "UNet passes for a picture")
    guidance: float = option(GUIDANCE, "how strictly prompts are followed")
    scenes: int = option(20000, "scenes that judges are trained on, as in `ldznet train`")
    folder: Path = option(Path("runs/miniature"), "folder whose cache the judge's scenes come from")
    model: str = option(
        "miniature",
        '"miniature" or a folder of such weights; on a data set any model of `ldznet segment`',
    )
    head: str = option(AUTO_HEAD, HEAD)
    other_head: tuple[str, ...] = option(
        (), "a further head for training-free, looks and agreement; may be repeated"
    )
    way: tuple[str, ...] = option(
        (),
        "of training-free and looks compare only the first way and those with these words in "
        "their names; may be repeated",
    )
    out: Path | None = option(
        None,
        "file for the figures as JSON, of a data set and protocols beside tables and curves; for a "
        "sheet, the picture",
    )
    data: Path | None = option(None, "folder of a data set to measure on in the place of scenes")
    format: Format = option("jsonl", "how the data set is laid out, as its authors publish it")
    partition: Partition | None = option(
        None, "whose split of RefCOCO, + or g; unc, unc and umd if not given"
    )
    threshold: float | None = option(
        None,
        "probability above which a pixel is in a mask, of a data set and for protocols; the head's "
        "own if not given",
    )
    limit: int = option(0, "only so many phrases of a data set's split, the first ones; 0 for all")
    device: str | None = option(
        None, "of a data set's masks: cpu, cuda, ...; cuda if not given and there is one"
    )
    dtype: DType = option("float32", "what UNet and head compute in on a data set")
