"""Training of a head on real pictures: any model that masks are made with, any data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from accelerate import PartialState
from accelerate.utils import set_seed
from torch import Tensor

from ...backends import load_backbone, needs_whole_unet
from ...data_sets import Row, check_rows
from ...errors import InputError
from ...head import HeadConfig
from ...world.draw import Draw
from ..head import PHRASES
from ..heads import HeadPlan, first_head
from ..kept import Arrays, fill
from ..loop import lacks_accelerator
from .examples import Asking, Examples, together
from .frozen import FrozenModel, TrainingBackbone
from .held_out import hold_out, questions
from .stage import DataHeadStage
from .views import Views, kept_of

__all__ = ["DataHeadStage", "DataPlan", "HeadPlan", "hold_out", "make_data_stage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlan:
    """What a head is trained on, and how.

    Attributes:
        model: as in `load_backbone`.
        dtype: of its UNet; of the miniature's only float32.
        head: which head.
        data: the data set and its split, in words, for the head's provenance.
        negatives: share of phrases that name nothing in their picture.
        phrases: asked of each view; None is 1 of the paper's head, and 4 of ours.
        views: of each row, encoded once and kept on disk; 0 makes new ones for every step.
        questions: phrases that the head is measured by, and as many absent ones.
        recomputes: whether the head's activations are computed twice, to save memory.
        seed: of weights and views.
    """

    model: str
    dtype: torch.dtype
    head: HeadPlan
    data: str
    negatives: float = 0.3
    phrases: int | None = None
    views: int = 0
    questions: int = 64
    recomputes: bool = False
    seed: int = 0


def make_data_stage(
    plan: DataPlan, rows: Sequence[Row], held_out: Sequence[Row], folder: Path
) -> DataHeadStage:
    """The stage; views that it shall keep are encoded now.

    Args:
        plan: What and how.
        rows: To learn from.
        held_out: Of other pictures, to be measured by; maybe none.
        folder: Of the run, which gets the views.

    Raises:
        InputError: Something in the plan or the data cannot be used.
        CheckpointError: Weights are missing or damaged.
        UnsupportedModelError: The model is of another family than those that are known.
    """
    _check(plan)
    check_rows([*rows, *held_out])
    phrases = plan.phrases or PHRASES[plan.head.kind]
    set_seed(plan.seed)
    state = PartialState(cpu=lacks_accelerator())
    backbone = _load(plan, state.device)
    head = first_head(plan.head, backbone.family, backbone.unet.config, lambda: _unet_weights(plan))
    head.recompute(is_on=plan.recomputes)
    model = FrozenModel(backbone, head.taps_of)
    asking = _asking(plan, head.config, phrases)
    examples = Examples(rows, asking)
    asked = questions(held_out, Examples([*rows, *held_out], asking), plan.questions)
    source: Examples | Views = examples
    if plan.views:
        with state.main_process_first():  # one process encodes, the others find all views there
            source = _views(plan, examples, model, head.config, folder)
    pictures = len({row.picture for row in rows})
    words = f"{plan.data}, {len(rows)} phrases of {pictures} pictures, {plan.negatives:g} absent"
    return DataHeadStage(head, model, source.batch, asked, words)


def _check(plan: DataPlan) -> None:
    if not 0 <= plan.negatives < 1:
        raise InputError(
            f"expected a share of absent phrases from 0 to below 1, got {plan.negatives}: 0.3 will "
            "do"
        )
    if plan.views < 0 or plan.questions < 0 or (plan.phrases is not None and plan.phrases < 1):
        raise InputError(
            f"expected views and questions from 0 on, and phrases from 1 on, got {plan.views}, "
            f"{plan.questions} and {plan.phrases}: correct them"
        )
    if plan.head.kind == "ldznet" and plan.phrases not in (None, 1):
        raise InputError(
            f"expected one phrase of a view for the head ldznet, whose features are its phrase's, "
            f"got {plan.phrases}: leave out --phrases"
        )


def _load(plan: DataPlan, device: torch.device) -> TrainingBackbone:
    whole = needs_whole_unet(plan.head.taps)
    backbone = load_backbone(plan.model, device=device, dtype=plan.dtype, whole_unet=whole)
    return cast(TrainingBackbone, backbone)  # as all of the library's own are


def _unet_weights(plan: DataPlan) -> Mapping[str, Tensor]:
    """The whole UNet's, in float32: the frozen one may be rounded, and end at the last tap."""
    backbone = cast(TrainingBackbone, load_backbone(plan.model, whole_unet=True))
    return backbone.unet.state_dict()


def _asking(plan: DataPlan, head: HeadConfig, phrases: int) -> Asking:
    return Asking(
        side=head.image_side, phrases=phrases, negatives=plan.negatives, template=head.template
    )


def _views(
    plan: DataPlan, examples: Examples, model: FrozenModel, head: HeadConfig, folder: Path
) -> Views:
    """The views of every row, in turns: each row's first, then each row's second."""

    def encode(index: int) -> Arrays:
        draw = Draw("view", plan.seed, index)
        batch = together([examples.example(index % len(examples), draw)], examples.asking.template)
        return kept_of(model.see(batch), batch)

    settings = {
        **asdict(examples.asking),
        "taps": list(head.taps),
        "model": _name_of(plan.model),
        "dtype": str(plan.dtype),
        "rows": examples.fingerprint(),
        "seed": plan.seed,
    }
    count = plan.views * len(examples)
    return Views(fill(folder / "views", "views", settings, count, encode))


def _name_of(model: str) -> str:
    """A model by its place and its size: one that was replaced is another."""
    path = Path(model)
    if not path.exists():
        return model
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    return f"{path.resolve()} of {size} bytes"
