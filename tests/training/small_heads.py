"""Small trainings of heads for the miniature."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ldznet_core.data_sets import Row
from ldznet_core.training import Plan
from ldznet_core.training.data import DataHeadStage, DataPlan, HeadPlan, hold_out, make_data_stage
from ldznet_core.weights import read_weights

from .pace import EACH

OURS = HeadPlan(kind="compact", taps=(6, 7, 12), side=64)
PAPERS = HeadPlan(kind="ldznet", taps=(6, 7), side=64)
PLAN = DataPlan(
    model="miniature",
    dtype=torch.float32,
    head=OURS,
    data="jsonl colours",
    phrases=2,
    questions=2,
)


def steps(count: int = EACH, minutes: float = 10.0, **fields: float) -> Plan:
    return Plan(
        steps=count,
        batch=1,
        learning_rate=1e-3,
        warmup=2,
        budget_minutes=minutes,
        **fields,  # type: ignore[arg-type]
    )


def make(rows: list[Row], folder: Path, plan: DataPlan = PLAN) -> DataHeadStage:
    return make_data_stage(plan, *hold_out(rows, 1), folder)


def weights_of(run: Path, name: str = "head-compact") -> dict[str, Tensor]:
    return read_weights(run / "weights" / name)[0]
