"""A case as ways to masks see it: what a model tells of it, each part asked once."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from PIL import Image
from torch import Tensor

from ...capture import BEST_TIMESTEP, Features
from ...head import Head
from ...miniature import Miniature
from ...phrases import without_article
from ...probe import probe_noise
from ...segmenter import Segmenter
from ...training_free import Attention, Layers, attend, find_places
from ...training_free.noise import noise_difference
from ..cases import Case
from ..painted import paint_listening


class Sight:
    """A picture and its phrases before the miniature; what was read is kept for other ways."""

    def __init__(
        self, miniature: Miniature, case: Case, number: int = 0, *, is_painted: bool = False
    ) -> None:
        """Encode the picture and the phrases.

        Args:
            miniature: What looks.
            case: What is asked.
            number: Of the case, for what is random.
            is_painted: Whether the miniature paints the scene anew before it looks.
        """
        self.miniature, self.case, self.number = miniature, case, number
        self.phrases = [phrase.text for phrase in case.phrases]
        self.latents = miniature.encode_image(Image.fromarray(case.scene.image))
        self.steps: tuple[Features, ...] = ()
        """What was captured while the scene was painted, at each step that heads want to see."""
        if is_painted:
            self.latents, self.steps = paint_listening(miniature, case, self.latents, number)
        self._asked = [without_article(phrase) for phrase in self.phrases]
        self.context = miniature.encode_text(self._asked)
        self._forget()

    def afresh(self) -> Sight:
        """The same picture, of which nothing was asked yet."""
        sight = copy(self)
        sight._forget()
        return sight

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the latents."""
        return self.latents.shape[-2], self.latents.shape[-1]

    def features(
        self, head: Head, texts: Sequence[str], timestep: float = BEST_TIMESTEP, seed: int = 0
    ) -> Features:
        """What a head reads of a pass over the picture, a row for each of the texts.

        Args:
            head: Says where in the UNet features are taken.
            texts: What the pass is made under.
            timestep: 0 to 999.
            seed: Of the noise.
        """
        key = (tuple(head.config.taps), tuple(texts), timestep, seed)
        if key not in self._features:
            generator = torch.Generator().manual_seed(seed)
            self._features[key] = self.miniature.probe(
                self.latents, texts, timestep, generator, head.taps_of
            )
        return self._features[key]

    def logits(self, segmenter: Segmenter, features: Features) -> Tensor:
        """What a head makes of features for each phrase, ``(P, H, W)``."""
        key = (segmenter, features)
        if key not in self._logits:
            given = segmenter.segment_features(self.latents, features, self.phrases)
            self._logits[key] = given.logits
        return self._logits[key]

    def attention(self, layers: Layers) -> Attention:
        """The attention of the layers for the phrases, by one pass under no text."""
        key = (layers, layers.timestep)
        if key not in self._attention:
            unet = self.miniature.unet
            heard = self.miniature.probe(
                self.latents,
                [""],
                t=layers.timestep,
                taps_of=lambda unet: find_places(unet, layers),
            )
            counts = self.miniature.count_tokens(self._asked)
            self._attention[key] = attend(heard, unet, layers, self.context, counts)
        return self._attention[key]

    @torch.inference_mode()
    def noise_difference(self, seed: int, timestep: float) -> Tensor:
        """How much each phrase changes the noise that is seen, ``(P, h, w)``, under one noise."""
        key = (seed, timestep)
        if key not in self._noise:
            generator = torch.Generator().manual_seed(seed)
            noise = probe_noise(self.latents, generator)
            noisy = self.miniature.schedule.add_noise(self.latents, noise, timestep)
            context = torch.cat([self.miniature.encode_text([""]), self.context])
            rows = len(context)
            estimates = self.miniature.unet(
                noisy.expand(rows, -1, -1, -1), noisy.new_full((rows,), timestep), context
            )
            self._noise[key] = noise_difference(estimates[1:], estimates[:1])
        return self._noise[key]

    def _forget(self) -> None:
        self._features: dict[tuple[object, ...], Features] = {}
        self._logits: dict[tuple[Segmenter, Features], Tensor] = {}
        self._attention: dict[tuple[Layers, float], Attention] = {}
        self._noise: dict[tuple[int, float], Tensor] = {}
