"""``ldznet demo``: a picture, its named masks and an inpainting, by the miniature alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from PIL import Image
from tqdm import tqdm

from ..auto_head import AUTO_HEAD
from ..checkpoint import load_head
from ..checks import checked_threshold
from ..errors import InputError
from ..miniature import Generation, Miniature
from ..miniature.sampling import GUIDANCE
from ..overlay import overlay, side_by_side
from ..phrases import check_phrases
from ..results.masks import PhraseReport, table, write_masks
from ..segmentation import NOTHING_READ, Segmentation
from ..segmenter import Segmenter
from .models import HEAD, chosen_head, load_painter
from .options import option
from .staging import staged

_SEEDS = 2**63 - 1  # the inpainting takes the next


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of the command."""

    out: Path = option(Path("ldznet-demo"), "folder for the pictures and report.json")
    prompt: str = option("a red car in a meadow", "what to paint")
    phrase: tuple[str, ...] = option(
        ("red car", "sky", "grass", "owl"), "what to mask; may be repeated"
    )
    inpaint: str = option(
        "a turtle in a meadow",
        "the prompt of the inpainting, which repaints the first phrase that is found",
    )
    seed: int = option(0, "of the picture; the inpainting takes the next")
    steps: int = option(20, "UNet passes for a picture")
    guidance: float = option(GUIDANCE, "how strictly prompts are followed; 1 is plain sampling")
    threshold: float | None = option(
        None,
        "probability above which a pixel is in a mask, of 0 to 1; the head's own if not given",
    )
    model: str = option("miniature", '"miniature" or a folder of such weights')
    head: str = option(AUTO_HEAD, HEAD)


class Seconds(TypedDict):
    """Wall-clock seconds of each part."""

    sampling: float
    sampling_with_capture: float
    masks: float
    inpainting: float


class Report(TypedDict):
    """What ``report.json`` holds."""

    prompt: str
    seed: int
    head: str
    source: str | None
    timestep: float | None
    captured_timesteps: list[float]
    same_picture_with_capture: bool
    threshold: float
    phrases: list[PhraseReport]
    inpaint_prompt: str
    inpainted_phrase: str | None
    seconds: Seconds
    out: str


def run(options: Options) -> Report:
    """Write the pictures and the report."""
    check_phrases(options.phrase)
    if not options.prompt.strip() or not options.inpaint.strip():
        raise InputError("expected a prompt in words, got an empty one: say what to paint")
    if options.threshold is not None:
        checked_threshold(options.threshold)
    if options.seed not in range(_SEEDS):
        raise InputError(f"expected a seed from 0 to 2^63 - 2, got {options.seed}: try 0")
    miniature = load_painter(options.model)
    head = chosen_head(options.model, options.head)
    segmenter = Segmenter(miniature, load_head(head))
    seconds = Seconds(sampling=0, sampling_with_capture=0, masks=0, inpainting=0)
    with _timed(seconds, "sampling"):
        plain = _paint(options, miniature, segmenter, captures=False)
    with _timed(seconds, "sampling_with_capture"):
        made = _paint(options, miniature, segmenter, captures=True)
    with _timed(seconds, "masks"):
        masks = segmenter.segment_sampled(
            made.latents,
            segmenter.aim.nearest(made.captured),
            options.phrase,
            threshold=options.threshold,
            picture=made.image,
        )
    with staged(options.out) as folder:
        made.image.save(folder / "image.png")
        shown = overlay(made.image, masks)
        shown.save(folder / "overlay.png")
        phrases = write_masks(masks, folder)
        with _timed(seconds, "inpainting"):
            inpainted, chosen = _inpaint(options, miniature, made.image, masks)
        inpainted.save(folder / "inpainted.png")
        side_by_side([made.image, shown, inpainted]).save(folder / "summary.png")
        report = Report(
            prompt=options.prompt,
            seed=options.seed,
            head=head,
            source=masks.source,
            timestep=masks.timestep,
            captured_timesteps=[each.timestep for each in made.captured],
            same_picture_with_capture=torch.equal(plain.latents, made.latents),
            threshold=masks.threshold,
            phrases=phrases,
            inpaint_prompt=options.inpaint,
            inpainted_phrase=chosen,
            seconds=seconds,
            out=str(options.out),
        )
        (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def describe(report: Report) -> str:
    """The report as a short table."""
    seconds = report["seconds"]
    read = NOTHING_READ
    if report["timestep"] is not None:
        read = f"{report['source']} at t = {report['timestep']:.0f}"
    capture = ", ".join(f"{timestep:.0f}" for timestep in report["captured_timesteps"]) or "none"
    return "\n".join(
        [
            table(report["phrases"]),
            "",
            f"head: {report['head']}; features: {read} (captured at {capture})",
            f"sampling {seconds['sampling']:.2f} s, with capture "
            f"{seconds['sampling_with_capture']:.2f} s, masks {seconds['masks']:.2f} s, "
            f"inpainting {seconds['inpainting']:.2f} s",
            f"pictures and report.json are in {report['out']}",
        ]
    )


@contextmanager
def _timed(seconds: Seconds, part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[part] = round(time.perf_counter() - start, 3)  # type: ignore[literal-required]  # a key


@contextmanager
def _steps_shown(what: str, steps: int) -> Iterator[Callable[[int], None]]:
    with tqdm(total=steps, desc=what, unit="step", leave=False, disable=None) as bar:

        def show(done: int) -> None:
            bar.update(done - bar.n)

        yield show


def _paint(
    options: Options, miniature: Miniature, segmenter: Segmenter, *, captures: bool
) -> Generation:
    """The picture, and what the segmenter's head wants to see of it if that is captured."""
    with _steps_shown("painting", options.steps) as on_step:
        return miniature.generate(
            options.prompt,
            options.seed,
            options.steps,
            guidance=options.guidance,
            captures=captures,
            taps_of=segmenter.head.taps_of,
            window=segmenter.aim.window,
            on_step=on_step,
        )


def _inpaint(
    options: Options, miniature: Miniature, image: Image.Image, masks: Segmentation
) -> tuple[Image.Image, str | None]:
    """The picture with the first phrase that was found painted anew; unchanged if none was."""
    if not any(masks.found):
        return image, None
    index = masks.found.index(True)
    with _steps_shown("inpainting", options.steps) as on_step:
        painted = miniature.inpaint(
            image,
            masks.masks[index],
            options.inpaint,
            options.seed + 1,
            options.steps,
            guidance=options.guidance,
            on_step=on_step,
        )
    return painted, masks.phrases[index]
