"""What a training is: its plan, and what a stage brings to the loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch import nn

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast a stage is trained.

    Attributes:
        steps: optimiser steps of the whole training, over all its runs.
        batch: samples a step and process.
        learning_rate: the peak of the schedule.
        warmup: steps until that peak; a cosine follows, down to a hundredth of it.
        average: decay of the weights' moving average.
        budget_minutes: wall-clock minutes of this run, after which it saves and stops.
        precision: "no", "bf16" or "fp16", as Accelerate names them.
        workers: processes that make batches beside the training one.
        seed: of weights, batches and noise.
        sample_minutes: minutes between sample sheets, which are also saving points.
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
        """The batch of one step and process: a pure function of these and the plan's seed."""

    def sheet(self) -> Image.Image:
        """A picture that shows how far the training has come."""

    def publish(self, folder: Path, provenance: str) -> None:
        """Write the networks' weights as the miniature loads them."""
