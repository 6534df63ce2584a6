"""The training of one cell, as the training loop takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..capture import BEST_TIMESTEP, Features
from ..checkpoint import CONFIG_KEY, encode_config
from ..head import AnyHead
from ..training.cache import to_unit_range
from ..training.losses import mask_losses
from ..training.plan import Batch, Plan
from ..training.randomness import generator_for
from ..training.sheets import grid
from ..weights import write_weights
from ..world import Draw, draw_phrases, mask_of
from .cells import Cell
from .designs import Design
from .held_out import CHOOSING
from .material import Material
from .rgbnet import fold
from .views import VIEWS

_ABSENT = 0.3  # share of phrases that name nothing in the scene
_SHOWN = 6  # held-out scenes on a sheet


class CellStage:
    """Trains the head of a cell on the first scenes of the training split that have masks.

    Cells of the same seed and number of scenes see the same scenes, phrases and masks in the same
    order, whatever their design.
    """

    def __init__(self, cell: Cell, design: Design, head: AnyHead, material: Material) -> None:
        """Join what is trained and what it learns from."""
        self.name = cell.name
        self.head = head
        self.objective: nn.Module = _Objective(head, material.encode_phrase)
        self._cell, self._design, self._material = cell, design, material
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def batch(self, plan: Plan, step: int, process: int) -> Batch:
        """A phrase for each of the next scenes; those come in rounds, each in an order of its own.

        Another round shows other views of the scenes, until it has shown all.
        """
        count, material = self._cell.scenes, self._material
        places = [divmod(step * plan.batch + row, count) for row in range(plan.batch)]
        shown = material.with_masks
        rows = [(shown[self._order(turn)[place]], turn % VIEWS) for turn, place in places]
        draw = Draw("study", plan.seed, step, process)
        masks, phrases = [], []
        for scene, _ in rows:
            layout, labels = material.scenes.layout(scene), material.labels[scene]
            phrase = draw_phrases(layout, labels, draw, 1, absent=_ABSENT)[0]
            phrases.append(phrase.text)
            masks.append(mask_of(labels, phrase.regions))
        taps = self._design.taps
        return {
            "latents": self._read([scene for scene, _ in rows]),
            "blocks": material.views.features(rows, taps) if taps else {},
            "phrases": phrases,
            "masks": torch.from_numpy(np.stack(masks)).float(),
        }

    def sheet(self) -> Image.Image:
        """Held-out scenes, the mask of a thing in each, and what the head gives."""
        held_out = self._material.held_out(CHOOSING)
        rows: list[Tensor] = []
        for index, case in enumerate(held_out.cases[:_SHOWN]):
            latents, features = held_out.given(self._design, index)
            phrase = next(each for each in case.phrases if not case.is_stuff(each))
            context = self._material.encode_phrase(phrase.text)
            probability = self.head(latents, context, features)[0].sigmoid().cpu()
            truth = torch.from_numpy(case.mask(phrase)).float()
            rows += [held_out.pictures[index], _grey(truth[None]), _grey(probability)]
        return grid(torch.stack(rows), 3)

    def publish(self, folder: Path, provenance: str) -> None:
        """Write the averaged weights, which are then measured; as a head where it can be one."""
        metadata = {"training": provenance}
        if self._design.is_loadable:
            config = replace(self.head.config, training=provenance)
            metadata[CONFIG_KEY] = encode_config(config)
        write_weights(self.head.state_dict(), folder / self.name, metadata, None)

    def _read(self, scenes: list[int]) -> Tensor:
        """What stands for the latents of these scenes."""
        if self._design.sees_pictures:
            pictures = np.stack([self._material.pictures[scene] for scene in scenes])
            return fold(to_unit_range(pictures))
        latents = np.stack([self._material.latents[scene] for scene in scenes])
        return torch.from_numpy(latents).float()

    def _shuffled(self, turn: int) -> list[int]:
        generator = generator_for("study order", self._cell.seed, self._cell.scenes, turn)
        order: list[int] = torch.randperm(self._cell.scenes, generator=generator).tolist()
        return order


class _Objective(nn.Module):
    """The head under training; what encodes the phrases stays out of the saved state."""

    def __init__(self, head: AnyHead, encode_phrase: Callable[[str], Tensor]) -> None:
        super().__init__()
        self.head = head
        self._encode_phrase = encode_phrase

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch's masks."""
        with torch.no_grad():
            context = torch.cat([self._encode_phrase(phrase) for phrase in batch["phrases"]])
        features = Features(batch["blocks"], BEST_TIMESTEP, "probe")
        return mask_losses(self.head, batch["latents"], context, features, batch["masks"])


def _grey(shares: Tensor) -> Tensor:
    """``(1, H, W)`` in [0, 1] as a ``(3, H, W)`` picture in [-1, 1]."""
    return shares.expand(3, -1, -1) * 2 - 1
