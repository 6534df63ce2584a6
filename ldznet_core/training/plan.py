"""What a training is: its plan, and what a stage brings to the loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from PIL import Image
from torch import nn

from ..errors import InputError
from ..head.config import Kind

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast a stage is trained.

    Attributes:
        steps: optimiser steps of the whole training, over all its runs.
        batch: samples a pass and process.
        learning_rate: the peak of the schedule.
        warmup: steps until that peak; a cosine follows, down to a hundredth of it.
        average: decay of the weights' moving average; 0 keeps none, which saves its memory.
        budget_minutes: wall-clock minutes of this run, after which it saves and stops.
        precision: "no", "bf16" or "fp16", as Accelerate names them.
        workers: processes that make batches beside the training one.
        seed: of weights, batches and noise.
        sample_minutes: minutes between sample sheets, which are also saving points.
        accumulate: passes whose gradients make one step.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 200
    average: float = 0.999
    budget_minutes: float = 10.0
    precision: str = "no"
    workers: int = 0
    seed: int = 0
    sample_minutes: float = 5.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        """Refuse what no training can be.

        Raises:
            InputError: A count is below 1, the minutes are below 0, or the average's decay is no
                share.
        """
        if not self.budget_minutes >= 0:
            raise InputError(
                f"expected minutes to train for, got {self.budget_minutes:g}: raise the budget"
            )
        if min(self.steps, self.batch, self.accumulate) < 1 or not 0 <= self.average < 1:
            raise InputError(
                "expected steps, batch and passes of at least 1 and an average from 0 to below 1, "
                f"got {self.steps}, {self.batch}, {self.accumulate} and {self.average}: correct "
                "them"
            )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Stage(Protocol):
    """What a stage brings to the loop.

    Attributes:
        name: the stage's name, and that of its folder in the run's.
        objective: the networks under training; called with a batch it gives the losses by name,
            of which "loss" is minimised.
    """

    name: str
    objective: nn.Module

    def batch(self, plan: Plan, step: int, process: int) -> Batch:
        """The batch of one pass and process: a pure function of these and the plan's seed.

        Passes are counted as steps, unless several make one.
        """

    def sheet(self) -> Image.Image:
        """A picture that shows how far the training has come."""

    def publish(self, folder: Path, provenance: str) -> None:
        """Write the networks' weights as the miniature loads them."""


@runtime_checkable
class MeasuredStage(Stage, Protocol):
    """A stage that can tell how good its networks are on what they never saw."""

    def figures(self) -> dict[str, float]:
        """Figures for the log, by name; asked for before each sample sheet."""


def stage_name(stage: str, kind: Kind) -> str:
    """The name of a stage's folder; heads of two kinds may learn side by side.

    >>> stage_name("head", "compact"), stage_name("head", "ldznet"), stage_name("vae", "ldznet")
    ('head-compact', 'head', 'vae')
    """
    return f"{stage}-{kind}" if stage == "head" and kind != "ldznet" else stage


def told_with(earlier: str, provenance: str) -> str:
    """What weights say of their training: after what they were begun from, if there was any.

    >>> told_with("", "10 steps"), told_with("10 steps", "5 steps")
    ('10 steps', '10 steps; then 5 steps')
    """
    return f"{earlier}; then {provenance}" if earlier else provenance
