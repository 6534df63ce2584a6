"""The miniature as a whole: it paints, it inpaints, and it is a backbone for the segmenter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..capture import BEST_TIMESTEP, EARLY, WINDOW, Features
from ..checks import are_sides, check_sides, checked_latents, checked_seed, is_whole
from ..devices import checked_device
from ..errors import InputError
from ..frames import STRIDE
from ..noise import NoiseSchedule
from ..pictures import size_of, to_picture
from ..probe import probe_features
from ..taps import TapsOf, find_taps
from ..tokenizer import count_tokens
from ..unet import UNet
from .networks import load_unet
from .parts import WEIGHTS
from .repaint import blend, latent_mask
from .sampling import GUIDANCE, Guidance, Repaint, sample
from .text import TextEncoder, load_text_encoder, tokenize
from .vae import decode, encode, load_vae

_MULTIPLE = 8 * STRIDE


@dataclass(frozen=True, slots=True)
class Generation:
    """A picture that the miniature made, with what was seen on the way."""

    image: Image.Image
    latents: Tensor
    """``(1, 4, h, w)``, clean."""
    captured: tuple[Features, ...]
    """The prompt's features at each timestep of the window that sampling visited; maybe none."""

    @property
    def features(self) -> Features | None:
        """Those captured nearest to t = 400, where the paper's head looks; None if there are none.

        Other heads look elsewhere: `Segmenter.aim` says where.
        """
        return EARLY.nearest(self.captured)


class Miniature:
    """A latent diffusion model of the layout of Stable Diffusion 1.x; a `Backbone`.

    Nothing is random but what a seed or generator says: the same call gives the same picture.
    """

    family = "miniature"
    stride = STRIDE

    def __init__(
        self, vae: AutoencoderKL, text_encoder: TextEncoder, unet: UNet, *, image_side: int
    ) -> None:
        """Join the parts.

        Args:
            vae: Between pictures and latents.
            text_encoder: From phrases to context.
            unet: Predicts the noise in latents.
            image_side: Side in pixels of the pictures that it was trained on.
        """
        self.vae, self.text_encoder, self.unet = vae, text_encoder, unet
        self.image_side = image_side
        self.schedule = NoiseSchedule()

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return next(self.unet.parameters()).device

    @torch.no_grad()
    def encode_image(self, image: Image.Image) -> Tensor:
        """Clean latents ``(1, 4, H/8, W/8)`` of an RGB picture: the posterior's mode.

        Raises:
            InputError: A side is no multiple of 8.
        """
        picture = to_picture(image)
        check_sides(picture)
        batch = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].to(self.device)
        return encode(self.vae, batch.float() / 127.5 - 1)

    @torch.no_grad()
    def decode_image(self, latents: Tensor) -> Image.Image:
        """The RGB picture of latents ``(1, 4, h, w)``, 8h x 8w pixels.

        Raises:
            InputError: They are of another shape, or not finite.
        """
        given = checked_latents(latents, next(self.vae.parameters()), self.family)
        pixels = (decode(self.vae, given) + 1) * 127.5
        return Image.fromarray(pixels[0].permute(1, 2, 0).round().to(torch.uint8).cpu().numpy())

    @torch.no_grad()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Text features ``(P, 77, D)``.

        Raises:
            InputError: A phrase has more than 77 tokens.
        """
        context: Tensor = self.text_encoder(tokenize(phrases).to(self.device))
        return context

    @torch.no_grad()
    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = BEST_TIMESTEP,
        generator: torch.Generator | None = None,
        taps_of: TapsOf = find_taps,
    ) -> Features:
        """Features of clean latents under noise, a row for each phrase.

        Args:
            latents: ``(1, 4, h, w)``, as `encode_image` gives them.
            phrases: What conditions the pass.
            t: The timestep, 0 to 999.
            generator: Source of the noise; None means a fixed seed.
            taps_of: Finds where features are taken: the paper's five blocks, or `head.taps_of`.

        Raises:
            InputError: The latents are of another shape or not finite, or there is no phrase.
        """
        return probe_features(
            self.unet,
            checked_latents(latents, next(self.unet.parameters()), self.family),
            self.encode_text(phrases),
            self.schedule,
            t=t,
            generator=generator,
            taps_of=taps_of,
        )

    def count_tokens(self, phrases: Sequence[str]) -> list[int]:
        """How many tokens each phrase has, the start and the end token included."""
        return count_tokens(phrases)

    @torch.no_grad()
    def generate(
        self,
        prompt: str,
        seed: int = 0,
        steps: int = 20,
        *,
        negative_prompt: str = "",
        guidance: float = GUIDANCE,
        size: tuple[int, int] | None = None,
        captures: bool = True,
        taps_of: TapsOf = find_taps,
        window: tuple[float, float] = WINDOW,
        on_step: Callable[[int], None] | None = None,
    ) -> Generation:
        """A picture of a prompt, and its features.

        Args:
            prompt: What to paint.
            seed: Of all the noise that the picture is made from.
            steps: UNet passes, at least 1.
            negative_prompt: What to keep away from.
            guidance: How strictly the prompt is followed; 1 is plain sampling.
            size: (height, width) in multiples of 64 pixels; None is the size it was trained on.
            captures: Whether to keep features; the picture is the same either way, bit for bit.
            taps_of: Finds where in the UNet they are taken, as in `probe`.
            window: The timesteps at which they are taken, the first and the last.
            on_step: Told the number of steps done.

        Raises:
            InputError: An argument is out of its range.
        """
        size = (self.image_side, self.image_side) if size is None else size
        _check_sampling(steps, guidance, size)
        height, width = size
        generator = torch.Generator().manual_seed(checked_seed(seed))
        noise = torch.randn((1, 4, height // STRIDE, width // STRIDE), generator=generator)
        latents, captured = sample(
            self.unet,
            noise.to(self.device),
            self._guidance(prompt, negative_prompt, guidance),
            steps,
            generator,
            captures=captures,
            taps_of=taps_of,
            window=window,
            on_step=on_step,
        )
        return Generation(self.decode_image(latents), latents, tuple(captured))

    @torch.no_grad()
    def inpaint(
        self,
        image: Image.Image,
        mask: Image.Image | Tensor | NDArray[Any],
        prompt: str,
        seed: int = 0,
        steps: int = 20,
        *,
        negative_prompt: str = "",
        guidance: float = GUIDANCE,
        on_step: Callable[[int], None] | None = None,
    ) -> Image.Image:
        """The picture with the masked part painted anew; pixels far outside stay as they are.

        Args:
            image: RGB, with sides in multiples of 64 pixels.
            mask: "L", or ``(H, W)`` or ``(1, H, W)`` in [0, 1], of the image's size; what is white,
                or 1, is painted anew.
            prompt: What the whole picture shall show.
            seed: Of the noise.
            steps: UNet passes, at least 1.
            negative_prompt: What to keep away from.
            guidance: As in `generate`.
            on_step: Told the number of steps done.

        Raises:
            InputError: An argument is out of its range, or the mask does not fit the picture.
        """
        picture = to_picture(image)
        height, width = size_of(picture)
        if isinstance(mask, np.ndarray):
            mask = torch.from_numpy(mask)
        _check_sampling(steps, guidance, (height, width))
        generator = torch.Generator().manual_seed(checked_seed(seed))
        inside = latent_mask(mask, (height, width), STRIDE).to(self.device)
        latents = self.encode_image(picture)
        noise = torch.randn(latents.shape, generator=generator)
        painted, _ = sample(
            self.unet,
            noise.to(self.device),
            self._guidance(prompt, negative_prompt, guidance),
            steps,
            generator,
            repaint=Repaint(latents, inside),
            on_step=on_step,
        )
        return blend(picture, self.decode_image(painted), mask)

    def _guidance(self, prompt: str, negative_prompt: str, scale: float) -> Guidance:
        context = self.encode_text([prompt, negative_prompt])
        return Guidance(context[:1], context[1:], scale)


def load_miniature(
    device: str | torch.device = "cpu", *, folder: str | Path | None = None
) -> Miniature:
    """The miniature that comes with the package, or another of its kind from a folder.

    Raises:
        CheckpointError: Weights are missing or damaged.
        InputError: This machine has no such device.
    """
    device = checked_device(device)
    source = Path(folder) if folder is not None else WEIGHTS
    vae = load_vae(source / "vae")
    return Miniature(
        vae.to(device),
        load_text_encoder(source / "text_encoder").to(device),
        load_unet(source / "unet").to(device),
        image_side=vae.config.sample_size,
    )


def _check_sampling(steps: int, guidance: float, size: tuple[int, int]) -> None:
    if not is_whole(steps) or not 1 <= steps <= 1000:
        raise InputError(f"expected 1 to 1000 steps, got {steps}: 20 will do")
    if not 0 < guidance < 100:
        raise InputError(
            f"expected a guidance above 0 and below 100, got {guidance}: {GUIDANCE:g} will do"
        )
    if not are_sides(size) or min(size) < _MULTIPLE or any(side % _MULTIPLE for side in size):
        got = f"{size[1]}x{size[0]}" if are_sides(size) else repr(size)
        raise InputError(
            f"expected two sides in multiples of {_MULTIPLE} pixels, got {got}: resize the picture "
            "or choose another size"
        )
