"""A case as ways to masks see it: what a model tells of it, each part asked once."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from ...capture import Features
from ...miniature import Miniature
from ...probe import probe_noise
from ...training_free import Attention, Layers, attend, find_places
from ...training_free.noise import noise_difference
from ..cases import Case
from ..painted import paint_anew


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
        self.captured: Features | None = None
        """What was captured while the scene was painted."""
        if is_painted:
            painted = paint_anew(miniature, case, self.latents, number)
            self.latents, self.captured = painted.latents, painted.captured
        self.context = miniature.encode_text(self.phrases)
        self._attention: dict[tuple[Layers, float], Attention] = {}
        self._noise: dict[tuple[int, float], Tensor] = {}

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the latents."""
        return self.latents.shape[-2], self.latents.shape[-1]

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
            counts = self.miniature.count_tokens(self.phrases)
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
