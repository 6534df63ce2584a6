"""A folder of pictures masked one by one: what `ldznet segment` writes, and masks for img2img."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ldznet_core import InputError
from ldznet_core.picture_files import read_picture
from ldznet_core.pictures import size_of
from ldznet_core.preprocessing import check_proportions
from ldznet_core.results.folders import (
    REPORT,
    PictureReport,
    identity,
    read_result,
    write_result,
)
from ldznet_core.results.picture_list import Job, list_jobs
from ldznet_core.whole_files import write_picture, write_text

from .answer import Answer

UNIONS = "inpaint-masks"
"""Folder with a mask of all phrases for each picture, under its name: what img2img's batch asks
for as its inpaint batch mask directory."""


@dataclass(frozen=True, slots=True)
class Step:
    """One picture that the run is through with."""

    number: int
    total: int
    path: Path
    overlay: Image.Image | None = None
    """The picture under its masks; None if it failed, or was done by an earlier run."""
    failure: str = ""


@dataclass(slots=True)
class FolderRun:
    """Masks of the pictures right in a folder; what an equal run has done stays as it is."""

    folder: Path
    out: Path
    asked: Mapping[str, Any]
    """Everything that decides what a picture's masks are, as JSON takes it."""
    reports: list[PictureReport] = field(default_factory=list, init=False)
    failed: list[dict[str, str]] = field(default_factory=list, init=False)
    """The ``image`` and ``error`` of each picture that could not be read."""

    def steps(self, mask: Callable[[Image.Image], Answer]) -> Generator[Step, None, None]:
        """Mask picture by picture; a damaged one does not keep the others from their masks.

        Whoever stops early leaves whole results and a report of them behind.

        Args:
            mask: Finds what is asked for in an RGB picture.

        Raises:
            LDZNetError: The folders cannot be used, or no picture can be masked like this.
        """
        jobs = self._jobs()
        try:
            for number, job in enumerate(jobs, start=1):
                yield self._step(job, number, len(jobs), mask)
        except OSError as error:
            raise InputError(
                f"expected to read {self.folder} and to write {self.out}, got {error}: fix that "
                "and start again, finished pictures are kept"
            ) from error
        finally:
            self._write_report()

    def _jobs(self) -> list[Job]:
        if not self.folder.is_dir():
            raise InputError(
                f"expected a folder of pictures, got {str(self.folder)!r}, which is no folder: "
                "enter its full path"
            )
        if self.out.exists() and not self.out.is_dir():
            raise InputError(
                f"expected a folder for the results, got the file {self.out}: name another"
            )
        return list_jobs([self.folder], self.out, reserved=(UNIONS,))

    def _step(self, job: Job, number: int, total: int, mask: Callable[..., Answer]) -> Step:
        asked = json.loads(json.dumps({**self.asked, "picture": identity(job.path)}))
        earlier = read_result(self.out / job.folder, asked)
        union = self.out / UNIONS / f"{job.folder}.png"
        if earlier is not None and union.is_file():
            self.reports.append(earlier)
            return Step(number, total, job.path)
        try:
            picture = read_picture(job.path).image
            check_proportions(size_of(picture))
        except InputError as error:
            self.failed.append({"image": str(job.path), "error": str(error)})
            return Step(number, total, job.path, failure=str(error))
        answer = mask(picture)
        write_picture(union, answer.union())
        masks = answer.treated()
        report = PictureReport(
            image=str(job.path),
            folder=job.folder,
            source=masks.source,
            timestep=masks.timestep,
            threshold=masks.threshold,
            phrases=[],
        )
        folder = self.out / job.folder
        self.reports.append(write_result(folder, picture, size_of(picture), masks, report, asked))
        return Step(number, total, job.path, answer.overlay(picture))

    def _write_report(self) -> None:
        if not self.reports:
            return
        report = {
            "pictures": self.reports,
            "failed": self.failed,
            "asked": dict(self.asked),
            "out": str(self.out),
        }
        write_text(self.out / REPORT, json.dumps(report, indent=2))
