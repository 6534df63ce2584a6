"""The third stage: a head learns masks from the frozen model's latents and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..capture import BEST_TIMESTEP, Features, capturing
from ..checkpoint import save_head
from ..errors import InputError
from ..head import AnyHead
from ..head.config import Kind
from ..miniature.model import Miniature
from ..miniature.sampling import RANGE
from ..miniature.vae import encode
from ..noise import seeded_noise
from ..probe import probe_features
from ..taps import BLOCKS, Taps
from ..world import Draw, Phrase, caption, draw_phrases, mask_of, scenes_with_masks
from .cache import SceneCache, latents_name, to_unit_range, unet_name
from .heads import HeadPlan, first_head
from .losses import mask_losses
from .paintings import Paintings
from .plan import Batch, Plan, stage_name, told_with
from .randomness import timestep_from
from .sheets import grid, tinted

_CAPTIONED = 0.5  # share of features that saw the scene's caption, as a sampler's do
_UNTOLD = 0.25  # share of features that saw no text, of heads that may be probed so
_RESTORED = 0.5  # share of latents that are the miniature's own, as those of its pictures are
_PAINTINGS = 0.5  # share of scenes that the miniature painted, where there are paintings
_ABSENT = 0.3  # share of phrases that name nothing in the scene
_SHEET_SCENES = 12
_COMPACT_TIMESTEP = 100.0  # of a probe: 0.02 of mIoU better than 400, chosen on `validation`

_PAINTED = "painted"

PHRASES: dict[Kind, int] = {"ldznet": 1, "compact": 4}
"""Asked of a picture in a batch, by the kind of head."""


class _Objective(nn.Module):
    """The head is trained; the miniature stays frozen, and outside of the saved state."""

    def __init__(self, head: AnyHead, miniature: Miniature) -> None:
        super().__init__()
        self.head = head
        self._frozen = (miniature,)
        self._encode_phrase = lru_cache(maxsize=4096)(self._encode)  # few, and asked often

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of the masks.

        The batch has ``latents`` (S, 4, h, w), S texts ``conditions``, one ``timestep`` and
        ``noise_seed``, ``is_restored`` (S, 1, 1, 1); of scenes that were painted anew, if there are
        any, ``painted`` (R, 4, h, w) and ``painted-N``, what block N gave meanwhile; and P texts
        ``phrases``, P / (S + R) for each scene, and ``masks`` (P, H, W) of 0 and 1.
        """
        (miniature,) = self._frozen
        with torch.no_grad():
            context = torch.cat([self._encode_phrase(phrase) for phrase in batch["phrases"]])
            features, restored = _denoise(
                miniature,
                self.head.taps_of(miniature.unet),
                batch["latents"],
                miniature.encode_text(batch["conditions"]),
                batch["timestep"],
                seeded_noise(batch["latents"].shape, batch["noise_seed"]),
            )
            latents = torch.where(batch["is_restored"], restored, batch["latents"])
            if _PAINTED in batch:
                latents = torch.cat([latents, batch[_PAINTED]])
                features = _with_painted(features, batch)
        return mask_losses(self.head, latents, context, features, batch["masks"])

    def _encode(self, phrase: str) -> Tensor:
        (miniature,) = self._frozen
        return miniature.encode_text([phrase])


def _with_painted(features: Features, batch: Batch) -> Features:
    """The features with those of paintings in further rows."""
    both = {
        block: torch.cat([taken, batch[f"{_PAINTED}-{block}"]])
        for block, taken in features.blocks.items()
    }
    return replace(features, blocks=both)


def _denoise(
    miniature: Miniature,
    taps: Taps,
    latents: Tensor,
    condition: Tensor,
    timestep: float,
    noise: Tensor,
) -> tuple[Features, Tensor]:
    """The features of noisy latents, and the clean latents that the miniature sees in them.

    What it sees is softer than the latents of a scene, as those of a picture that it paints are.
    """
    noise = noise.to(latents)
    noisy = miniature.schedule.add_noise(latents, noise, timestep)
    with capturing(miniature.unet, taps) as capture:
        predicted = miniature.unet(noisy, noisy.new_full((len(noisy),), timestep), condition)
    signal = miniature.schedule.alphas_cumprod[int(timestep)]
    restored = (noisy - (1 - signal).sqrt() * predicted) / signal.sqrt()
    return capture.features(timestep, "probe"), restored.clamp(-RANGE, RANGE)


class HeadStage:
    """Trains a head of the miniature.

    It goes on from an earlier one; else the paper's starts from its UNet, ours from nothing.
    """

    def __init__(
        self,
        scenes: SceneCache,
        held_out: SceneCache,
        miniature: Miniature,
        weights: Path,
        kind: Kind = "ldznet",
        taps: Sequence[int] = BLOCKS,
        paintings: int = 0,
        start: Path | None = None,
    ) -> None:
        """Build the head.

        Args:
            scenes: To learn from.
            held_out: To show.
            miniature: Frozen; gives latents, text and features.
            weights: The folder that it came from, whose contents name what is kept.
            kind: Of the head.
            taps: The blocks that it reads; none is the paper's ZNet.
            paintings: How many of the scenes it also learns from as the miniature paints them.
            start: A head to go on from, in the place of fresh weights.
        """
        self.name = stage_name("head", kind)
        self._scenes, self._held_out, self._miniature = scenes, held_out, miniature
        self._shown = scenes_with_masks(scenes.world, scenes.split, scenes.count)
        plan = HeadPlan(
            kind=kind,
            taps=tuple(taps),
            side=scenes.side,
            start=start,
            timestep=_COMPACT_TIMESTEP if kind == "compact" else BEST_TIMESTEP,
        )
        unet = miniature.unet
        self._head = first_head(plan, miniature.family, unet.config, unet.state_dict)
        self._earlier = self._head.config.training
        self._latents = scenes.latents(  # after all that may be refused: scenes take minutes
            latents_name(weights),
            lambda images: encode(miniature.vae, images.to(miniature.device)),
        )
        self._labels, self._weights = scenes.labels(), weights
        if kind == "compact":
            self._head = self._head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU
        self.objective: nn.Module = _Objective(self._head, miniature)
        self._paintings = self._paint(paintings) if paintings else None

    def batch(self, plan: Plan, step: int, process: int) -> Batch:
        """Random scenes with their phrases; half of the features see the scene's caption instead.

        Heads that are asked several phrases of one scene share its features among them, as they do
        where they were captured: those of the caption, of one of the phrases, or of no text.
        """
        draw = Draw("head", plan.seed, step, process)
        painted, further = self._painted(draw, plan.batch)
        fresh = plan.batch - len(painted)
        indices = [*(draw.choice(self._shown) for _ in range(fresh)), *painted]
        layouts = [self._scenes.layout(index) for index in indices]
        labels = [self._labels[index] for index in indices]
        asked = PHRASES[self._head.config.kind]
        phrases = [
            draw_phrases(layout, label, draw, asked, absent=_ABSENT)
            for layout, label in zip(layouts, labels, strict=True)
        ]
        conditions = []
        for layout, of_scene in zip(layouts[:fresh], phrases[:fresh], strict=True):
            if draw.chance(_CAPTIONED):
                conditions.append(caption(layout, draw))
            elif asked > 1 and draw.chance(_UNTOLD / (1 - _CAPTIONED)):
                conditions.append("")
            else:
                conditions.append(of_scene[0].text)
        return {
            "latents": torch.from_numpy(
                np.stack([self._latents[index] for index in indices[:fresh]]).astype("float32")
            ),
            "phrases": [phrase.text for of_scene in phrases for phrase in of_scene],
            "conditions": conditions,
            "masks": _masks(
                [label for label in labels for _ in range(asked)],
                [phrase for of_scene in phrases for phrase in of_scene],
            ),
            "timestep": float(timestep_from(draw)),
            "noise_seed": draw.below(2**31),
            "is_restored": torch.tensor([draw.chance(_RESTORED) for _ in range(fresh)])[
                :, None, None, None
            ],
            **further,
        }

    def sheet(self) -> Image.Image:
        """Held-out scenes, each with a phrase's mask in red and what the head gives in green."""
        indices = range(_SHEET_SCENES)
        images = to_unit_range(self._held_out.images()[:_SHEET_SCENES])
        labels = self._held_out.labels()
        phrases = [
            draw_phrases(self._held_out.layout(i), labels[i], Draw("sheet", i), 1)[0]
            for i in indices
        ]
        masks = _masks([labels[i] for i in indices], phrases)
        device = self._miniature.device
        with torch.no_grad():
            latents = encode(self._miniature.vae, images.to(device))
            context = self._miniature.encode_text([phrase.text for phrase in phrases])
            features = probe_features(
                self._miniature.unet,
                latents,
                context,
                self._miniature.schedule,
                taps_of=self._head.taps_of,
            )
            probabilities = self._head(latents, context, features).sigmoid()[:, 0].cpu()
        shown = [images, tinted(images, masks, 0), tinted(images, probabilities, 1)]
        half = _SHEET_SCENES // 2
        rows = [each[start : start + half] for start in (0, half) for each in shown]
        return grid(torch.cat(rows), half)

    def publish(self, folder: Path, provenance: str) -> None:
        """Write the head by its kind; its thresholds are calibrated by ``ldznet evaluate``."""
        training = told_with(self._earlier, provenance)
        self._head.config = replace(self._head.config, training=training)
        save_head(self._head, folder / f"head-{self._head.config.kind}", dtype=torch.float16)

    def _paint(self, count: int) -> Paintings:
        """The first scenes as the miniature paints them, from disk where that was done before."""
        scenes, weights = self._scenes, unet_name(self._weights)
        taps = "-".join(map(str, self._head.config.taps))
        name = f"{scenes.world}-{scenes.side}-painted-{count}-{weights}-{taps}"
        return Paintings(
            scenes.folder / name,
            scenes,
            self._shown[:count],
            self._latents,
            self._miniature,
            self._head.taps_of,
            weights,
        )

    def _painted(self, draw: Draw, batch: int) -> tuple[list[int], Batch]:
        """Scenes of a batch that are shown as they were painted, and what is known of them."""
        paintings = self._paintings
        if paintings is None:
            return [], {}
        rows = int(_PAINTINGS * batch)
        if not rows:
            raise InputError(
                f"expected a batch of at least 2 with paintings, got {batch}: raise it"
            )
        numbers = [draw.below(len(paintings.shown)) for _ in range(rows)]
        latents, blocks = paintings.rows(numbers)
        told = {f"{_PAINTED}-{block}": feature for block, feature in blocks.items()}
        return [paintings.shown[number] for number in numbers], {_PAINTED: latents, **told}


def _masks(labels: list[np.ndarray], phrases: list[Phrase]) -> Tensor:
    masks = [mask_of(label, phrase.regions) for label, phrase in zip(labels, phrases, strict=True)]
    return torch.from_numpy(np.stack(masks)).float()
