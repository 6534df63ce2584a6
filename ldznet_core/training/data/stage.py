"""The stage that trains a head on a data set's pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...checkpoint import save_head
from ...data_sets import Row
from ...head import AnyHead
from ...picture_files import read_picture
from ...pictures import size_of
from ...segmenter import Segmenter
from ...world.draw import Draw
from ..cache import to_unit_range
from ..losses import mask_losses
from ..plan import Batch, Plan, stage_name, told_with
from ..sheets import grid, tinted
from .crops import square_around
from .frozen import FrozenModel, features_of
from .validation import Validation, validate

_SHEET_ROWS = 12
_SHEET_COLUMNS = 6
_SHEET_SIDE = 256

MakeBatch = Callable[[Plan, int, int], Batch]


class DataHeadStage:
    """Trains a head on examples that are made anew for each step, or on views encoded before."""

    def __init__(
        self,
        head: AnyHead,
        model: FrozenModel,
        batch: MakeBatch,
        questions: Sequence[Row],
        data: str,
    ) -> None:
        """Join the parts.

        Args:
            head: To be trained; on any device.
            model: Frozen, on the device of the training.
            batch: Of `Examples`, or `Views`; where workers make batches, they get no more
                of the stage than this.
            questions: Rows of held-out pictures, those of a picture together; maybe none.
            data: What it is trained on, in words, for the head's provenance.
        """
        kind = head.config.kind
        self.name = stage_name("head", kind)
        self.batch = batch
        self.objective: nn.Module = _Objective(head, model)
        self._head, self._model, self._data = head, model, data
        self._earlier = head.config.training
        self._questions = questions
        self._validation: Validation | None = None

    def figures(self) -> dict[str, float]:
        """How good the head is on held-out pictures; with that come the thresholds it will have."""
        if not any(not row.is_absent for row in self._questions):
            return {}
        self._validation = validate(self._segmenter(), self._questions)
        return self._validation.figures

    def sheet(self) -> Image.Image:
        """Held-out views, each with its phrase's mask in red and what the head gives in green."""
        shown = list(islice(self._shown(), _SHEET_ROWS))
        if not shown:
            return Image.new("RGB", (_SHEET_SIDE, _SHEET_SIDE), "white")
        images, truths, given = (torch.stack(each) for each in zip(*shown, strict=True))
        parts = [images, tinted(images, truths, 0), tinted(images, given, 1)]
        starts = range(0, len(shown), _SHEET_COLUMNS)
        rows = [_row(each[start : start + _SHEET_COLUMNS]) for start in starts for each in parts]
        return grid(torch.cat(rows), _SHEET_COLUMNS)

    def publish(self, folder: Path, provenance: str) -> None:
        """Write the head by its kind, with the thresholds that suit the held-out pictures."""
        training = told_with(self._earlier, f"{provenance}; {self._data}")
        config = replace(self._head.config, training=training)
        if self._validation is not None:
            presence = self._validation.presence_threshold or config.presence_threshold
            config = replace(
                config,
                mask_threshold=self._validation.mask_threshold,
                presence_threshold=presence,
            )
        self._head.config = config
        save_head(self._head, folder / f"head-{config.kind}", dtype=torch.float16)

    def _segmenter(self) -> Segmenter:
        return Segmenter(self._model.backbone, self._head)

    def _shown(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Views ``(3, S, S)`` in [-1, 1], with truth and probabilities ``(S, S)``."""
        for row in self._questions:
            picture = read_picture(row.picture).image
            size = size_of(picture)
            if row.is_absent or row.size not in (None, size):
                continue
            mask = row.truth.mask(size)
            square = square_around(mask, Draw("sheet"))
            view = square.picture(picture, self._head.config.image_side)
            small = view.resize((_SHEET_SIDE, _SHEET_SIDE), Image.Resampling.LANCZOS)
            given = self._segmenter().segment_image(
                view, [row.phrase], size=(_SHEET_SIDE, _SHEET_SIDE)
            )
            yield (
                to_unit_range(np.asarray(small)[None])[0],
                torch.from_numpy(square.mask(mask, _SHEET_SIDE)).float(),
                given.probabilities[0].cpu(),
            )


class _Objective(nn.Module):
    """The head is trained; the model stays frozen, and outside of the saved state."""

    def __init__(self, head: AnyHead, model: FrozenModel) -> None:
        super().__init__()
        self.head = head
        self._model = model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of the masks of a batch of `Examples` or `Views`."""
        seen = batch if "latents" in batch else {**batch, **self._model.see(batch)}
        return mask_losses(
            self.head,
            seen["latents"].float(),
            seen["context"].float(),
            features_of(seen),
            seen["masks"].float(),
        )


def _row(images: Tensor) -> Tensor:
    """Pictures ``(B, 3, S, S)``, with white ones behind them up to the sheet's columns."""
    return torch.cat([images, images.new_ones((_SHEET_COLUMNS - len(images), *images.shape[1:]))])
