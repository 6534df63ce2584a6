"""One process's share of the pictures, masked turn by turn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from PIL import Image
from tqdm import tqdm

from ..errors import InputError
from ..looks import Probed
from ..picture_files import OpenedPicture, read_picture
from ..pictures import size_of
from ..preprocessing import check_proportions, official_size
from ..procedure import Procedure
from ..results.folders import (
    PictureReport,
    identity,
    identity_of_weights,
    read_result,
    write_result,
)
from ..results.picture_list import Job
from ..segmenter import Segmenter
from ..snapping import snapped
from .models import DType, load_segmenting_pair
from .processes import Processes

MASK_PIXELS = 2**21
"""Of larger pictures the masks are made at this size and then enlarged; Full HD is below it."""

_PROBES_PER_TURN = 64  # 3 MB of features each at the true size of SD 1.x in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is asked of every picture, by what, and how."""

    phrases: tuple[str, ...]
    negatives: tuple[str, ...]
    threshold: float | None
    model: str
    head: str
    device: str | None
    dtype: DType
    procedure: Procedure
    keeps_absent: bool
    snaps: bool
    resumes: bool

    def weights(self) -> dict[str, Any]:
        """What tells model and head from others: asked once, for their files may be many."""
        return {
            "model": identity_of_weights(self.model),
            "head": identity_of_weights(self.head),
        }

    def of(self, picture: Path, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that decides what the masks of a picture are, as JSON gives it back.

        Args:
            picture: Its file.
            weights: As `weights` told before they were loaded.
        """
        asked = {
            "picture": identity(picture),
            "phrases": self.phrases,
            "negatives": self.negatives,
            "threshold": self.threshold,
            **weights,
            "dtype": self.dtype,
            "procedure": asdict(self.procedure),
            "keeps_absent": self.keeps_absent,
            "snaps": self.snaps,
        }
        whole: dict[str, Any] = json.loads(json.dumps(asked))
        return whole


class Failure(TypedDict):
    """A picture that could not be read."""

    image: str
    error: str


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """A picture that waits for the head."""

    job: Job
    shown: Image.Image
    """RGB, of the size of the masks."""
    size: tuple[int, int]
    """(height, width) in the file."""
    probed: Probed


def mask_pictures(
    jobs: Sequence[Job], out: Path, ask: Ask, processes: Processes
) -> tuple[list[PictureReport], list[Failure]]:
    """Mask pictures and write each one's results; the reports, and which could not be read.

    Raises:
        LDZNetError: What was asked cannot be done, whatever the picture.
    """
    weights = ask.weights()
    earlier = [
        read_result(out / job.folder, ask.of(job.path, weights)) for job in jobs if ask.resumes
    ]
    reports = [report for report in earlier if report is not None]
    done = {report["folder"] for report in reports}
    todo = [job for job in jobs if job.folder not in done]
    failures: list[Failure] = []
    if not todo:
        return reports, failures
    pair = load_segmenting_pair(
        ask.model, ask.head, ask.device, ask.dtype, processes.index_on_machine
    )
    segmenter = Segmenter(
        pair.backbone, pair.head, procedure=ask.procedure, keep_absent=ask.keeps_absent
    )
    per_turn = _pictures_per_turn(ask) if pair.takes_turns else 1
    off = None if processes.is_main else True  # None: where nobody watches
    with tqdm(
        total=len(jobs), initial=len(reports), unit="picture", leave=False, disable=off
    ) as bar:
        for start in range(0, len(todo), per_turn):
            turn = todo[start : start + per_turn]
            for looked in list(_look(turn, segmenter, ask, failures, bar)):
                reports.append(_mask(looked, out, segmenter, ask, weights))
                bar.update(0.5)
    return reports, failures


def _pictures_per_turn(ask: Ask) -> int:
    """How many pictures are probed before the head takes its turn in memory."""
    probes = len(ask.phrases + ask.negatives) * max(1, len(ask.procedure.timesteps))
    return max(1, _PROBES_PER_TURN // probes)


def _look(
    jobs: Sequence[Job], segmenter: Segmenter, ask: Ask, failures: list[Failure], bar: Any
) -> Iterator[_Looked]:
    """Probe each picture that can be read; tell of the others."""
    for job in jobs:
        try:
            opened = _open(job.path, segmenter)
        except InputError as error:
            failures.append(Failure(image=str(job.path), error=str(error)))
            bar.update(1)
            continue
        size = _mask_size(opened.size)
        probed = segmenter.probe_image(
            opened.image, ask.phrases, ask.negatives, ask.threshold, size
        )
        yield _Looked(job, opened.image.resize((size[1], size[0])), opened.size, probed)
        bar.update(0.5)


def _open(path: Path, segmenter: Segmenter) -> OpenedPicture:
    """A picture that the procedure can take."""
    if segmenter.procedure.preprocess != "official":
        opened = read_picture(path, MASK_PIXELS)
        check_proportions(size_of(opened.image))
        return opened
    opened = read_picture(path)  # whole: the authors' own scaling starts from it
    official_size(size_of(opened.image), segmenter.head.config.image_side)
    return opened


def _mask_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which the masks of a picture are made."""
    scale = math.sqrt(MASK_PIXELS / (size[0] * size[1]))
    if scale >= 1:
        return size
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def _mask(
    looked: _Looked, out: Path, segmenter: Segmenter, ask: Ask, weights: Mapping[str, Any]
) -> PictureReport:
    masks = segmenter.segment_probed(looked.probed)
    if ask.snaps:
        masks = snapped(masks, looked.shown)
    report = PictureReport(
        image=str(looked.job.path),
        folder=looked.job.folder,
        source=masks.source,
        timestep=masks.timestep,
        threshold=masks.threshold,
        phrases=[],
    )
    return write_result(
        out / looked.job.folder,
        looked.shown,
        looked.size,
        masks,
        report,
        ask.of(looked.job.path, weights),
    )
