"""``ldznet train``: the miniature's three stages, or a head for another model, in as many runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import InputError
from . import train_data
from .extras import lacks_train
from .options import option
from .train_data import DataOptions

if TYPE_CHECKING:
    from ..training import Stage


_SCENE_SIDE = 128


@dataclass(frozen=True, slots=True)
class Options(DataOptions):
    """The flags of the command."""

    stage: Literal["vae", "ldm", "head"] = option("vae", "what is trained", positional=True)
    folder: Path = option(Path("runs/miniature"), "folder of states, logs, samples and weights")
    world: str = option("small", "the world's name")
    scenes: int = option(20000, "scenes to train on, rendered once")
    side: int | None = option(
        None,
        "side of scenes or square views in pixels, a multiple of 64 (default: 128, for SD 1.x 512)",
    )
    steps: int = option(6000, "optimiser steps of the whole training, over all its runs")
    batch: int = option(16, "samples a pass and process")
    accumulate: int = option(1, "passes whose gradients make one step")
    learning_rate: float = option(5e-4, "peak of the cosine schedule")
    warmup: int = option(200, "steps until that peak")
    average: float = option(0.998, "decay of the weights' moving average; 0 is none")
    budget_minutes: float = option(10.0, "wall-clock minutes after which this run saves and stops")
    sample_minutes: float = option(8.0, "minutes between saving points with sample sheets")
    precision: Literal["no", "bf16", "fp16"] = option("no", "mixed precision of the passes")
    workers: int = option(0, "processes that make batches beside the training one")
    seed: int = option(0, "of weights, batches and noise")
    kind: Literal["ldznet", "compact"] = option("ldznet", "head: the paper's, or our small one")
    taps: str = option("6-10", 'head: blocks that it reads, such as "6-10,13"; "" is none')
    start: Path | None = option(
        None,
        "weights to go on from in a new run: a head's file, such as a converted one, or a built-in "
        'one\'s name; of the others a folder of weights, or "miniature"',
    )
    paintings: int = option(
        0,
        "head: scenes that it also learns from as the miniature paints them, which is done once; "
        "a third of a second each on a core",
    )
    crop: int = option(128, "vae: side of the crops in pixels, a multiple of 64")
    channels: str = option(
        "",
        "vae: of its four levels, from the picture's to the latents', in multiples of 32 (default: "
        "32,32,64,64, or those of --start)",
    )
    decoder_only: bool = option(
        False, "vae: leave the encoder of --start as it is, so that UNet and heads stay valid"
    )
    resume: bool = option(False, "go on from the run's saved state")


def run(options: Options) -> dict[str, object] | None:
    """Train until the steps or the minutes are used up."""
    try:
        from accelerate import PartialState

        from ..training import Plan, Setup, make_stage, train
        from ..training.plan import stage_name
        from ..training.saved_state import checked_state
    except ImportError as error:
        raise lacks_train("training", error) from error
    plan = Plan(
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        warmup=options.warmup,
        average=options.average,
        budget_minutes=options.budget_minutes,
        precision=options.precision,
        workers=options.workers,
        seed=options.seed,
        sample_minutes=options.sample_minutes,
        accumulate=options.accumulate,
    )
    folder = options.folder / stage_name(options.stage, options.kind)
    checked_state(folder, resume=options.resume)  # before scenes or pictures are made
    taps = parse_blocks(options.taps)
    if options.data is None:
        setup = Setup(
            world=options.world,
            scenes=options.scenes,
            side=options.side or _SCENE_SIDE,
            crop=options.crop,
            seed=options.seed,
            channels=parse_channels(options.channels) if options.channels else None,
            decoder_only=options.decoder_only,
            kind=options.kind,
            taps=tuple(taps),
            paintings=options.paintings,
            start=options.start,
        )
        stage: Stage = make_stage(options.stage, options.folder, setup)
    else:
        stage = _on_data(options, options.data, taps)
    done = train(stage, plan, options.folder, resume=options.resume)
    if not PartialState().is_main_process:
        return None
    return {
        "stage": options.stage,
        "steps": done,
        "of": options.steps,
        "weights": str(options.folder / "weights"),
    }


def _on_data(options: Options, data: Path, taps: list[int]) -> Stage:
    if options.stage != "head":
        raise InputError(
            f"expected the stage head with --data, got {options.stage}: scenes alone train the "
            "miniature's own networks"
        )
    if options.paintings:
        raise InputError(
            f"expected no paintings with --data, got {options.paintings}: only scenes can be "
            "painted anew, so leave out --paintings"
        )
    return train_data.make_stage(
        options,
        data,
        options.folder,
        kind=options.kind,
        taps=taps,
        side=options.side,
        start=options.start,
        seed=options.seed,
    )


def parse_blocks(text: str) -> list[int]:
    """Block numbers from a list of numbers and ranges.

    >>> parse_blocks("6-8,13"), parse_blocks("")
    ([6, 7, 8, 13], [])

    Raises:
        InputError: It is no such list.
    """
    blocks: list[int] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise InputError(
                f'expected blocks such as "6-10,13", got {text!r}: write numbers and ranges'
            )
        blocks += range(int(first), int(last) + 1)
    return blocks


def parse_channels(text: str) -> tuple[int, ...]:
    """Channels from a list of numbers.

    >>> parse_channels("32, 64")
    (32, 64)

    Raises:
        InputError: It is no such list.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(
            f'expected channels such as "32,64,128,128", got {text!r}: write four numbers'
        )
    return tuple(map(int, parts))


def describe(report: dict[str, object]) -> str:
    """The report as a line."""
    return (
        f"{report['stage']}: {report['steps']} of {report['of']} steps are done; "
        f"weights are in {report['weights']}"
    )
