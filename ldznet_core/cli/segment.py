"""``ldznet segment``: masks of pictures that lie on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from ..auto_head import AUTO_HEAD
from ..checks import checked_threshold
from ..errors import InputError
from ..phrases import check_negatives, check_phrases
from ..picture_files import check_picture
from ..procedure import Preprocess, Procedure
from ..results.folders import REPORT, PictureReport
from ..results.masks import table
from ..results.picture_list import list_jobs
from ..snapping import load_matting
from ..whole_files import check_folder, write_text
from .masking import Ask, Failure, mask_pictures
from .models import HEAD, DType, chosen_head
from .options import option
from .processes import joined


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    image: tuple[Path, ...] = option(
        (), "pictures in any form that Pillow reads, and folders of pictures", positional=True
    )
    phrase: tuple[str, ...] = option((), "what to mask; may be repeated")
    negative: tuple[str, ...] = option((), "what to take out of every mask; may be repeated")
    out: Path | None = option(None, "folder for the masks and report.json")
    threshold: float | None = option(
        None,
        "probability above which a pixel is in a mask, of 0 to 1; the head's own if not given",
    )
    model: str = option(
        "miniature",
        '"miniature", a folder of such weights, an SD 1.x checkpoint (.safetensors), or the folder '
        "of a diffusers pipeline",
    )
    head: str = option(AUTO_HEAD, HEAD)
    device: str | None = option(None, "cpu, cuda, ...; cuda if not given and there is one")
    dtype: DType = option("float32", "what UNet and head compute in")
    preprocess: Preprocess = option(
        "fit", "fit keeps a picture's proportions; official floors its sides to multiples of 64"
    )
    timestep: tuple[int, ...] = option(
        (),
        "where features are taken, 0 to 999, the head's own if not given; of several (the flag may "
        "be repeated) the mean counts",
    )
    template: str | None = option(
        None, "what a phrase is put into, with one {}; the head's own if not given"
    )
    keep_absent: bool = option(
        False, "write a mask also of what is told not to be there: where it would be likeliest"
    )
    snap: bool = option(
        False,
        "snap masks to the picture's edges, as far as a 16th of its side (pip install pymatting)",
    )
    seed: int = option(0, "of the probes' noise, and of all official randomness")
    official_randomness: bool = option(
        False, "draw latents, template, timestep and noise as the authors do, from the seed"
    )
    resume: bool = option(False, "leave out pictures whose masks an equal run has written")


class Report(TypedDict):
    """What ``report.json`` holds."""

    pictures: list[PictureReport]
    failed: list[Failure]
    head: str
    procedure: dict[str, Any]
    out: str


def run(options: Options) -> Report | None:
    """Write the masks of all pictures; of none if one that was named is no picture.

    One that turns out damaged later does not keep the others from their masks, but is an error in
    the end.
    """
    out, ask = _checked(options)
    jobs = list_jobs(options.image, out)
    for job in jobs:
        if job.is_named:
            check_picture(job.path)
    with joined() as processes:
        shares = processes.gather(mask_pictures(processes.share(jobs), out, ask, processes))
    if not processes.is_main:
        return None
    failed = [each for _, failures in shares for each in failures]
    done = {report["folder"]: report for reports, _ in shares for report in reports}
    report = Report(
        pictures=[done[job.folder] for job in jobs if job.folder in done],
        failed=failed,
        head=ask.head,
        procedure=asdict(ask.procedure),
        out=str(out),
    )
    if done:
        write_text(out / REPORT, json.dumps(report, indent=2))
    if failed:
        rest = f" ({len(failed)} of {len(jobs)} pictures failed)" if len(jobs) > 1 else ""
        raise InputError(f"{failed[0]['error']}{rest}")
    return report


def describe(report: Report) -> str:
    """The report as a table for each picture."""
    tables = [f"{each['image']}\n{table(each['phrases'])}" for each in report["pictures"]]
    return "\n\n".join([*tables, f"masks and report.json are in {report['out']}"])


def _checked(options: Options) -> tuple[Path, Ask]:
    """The folder for the results, and what is asked of every picture."""
    if options.out is None:
        raise InputError("expected a folder for the masks, got none: add --out DIR")
    check_folder(options.out)
    if options.threshold is not None:
        checked_threshold(options.threshold)
    if options.snap:
        load_matting()
    return options.out, Ask(
        phrases=check_phrases(options.phrase),
        negatives=check_negatives(options.negative),
        threshold=options.threshold,
        model=options.model,
        head=chosen_head(options.model, options.head),
        device=options.device,
        dtype=options.dtype,
        procedure=Procedure(
            preprocess=options.preprocess,
            timesteps=options.timestep,
            template=options.template,
            seed=options.seed,
            has_official_randomness=options.official_randomness,
        ),
        keeps_absent=options.keep_absent,
        snaps=options.snap,
        resumes=options.resume,
    )
