"""What the segmenter asks of a latent diffusion model, whichever host or file it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .capture import Features
from .taps import TapsOf, find_taps

if TYPE_CHECKING:
    from PIL.Image import Image


class Backbone(Protocol):
    """A latent diffusion model: its VAE's encoder, its text encoder and its UNet.

    Nothing here is random unless a generator is passed: the same input gives the same tensors.
    """

    @property
    def family(self) -> str:
        """Which heads understand it: "sd1", "miniature", ..."""

    @property
    def stride(self) -> int:
        """Pixels to a latent, along each side; 8 for every family so far."""

    def encode_image(self, image: Image) -> Tensor:
        """Clean latents ``(1, C, h, w)``, the posterior's mode, scaled as the UNet takes them.

        Args:
            image: RGB, with sides in multiples of ``stride``.
        """

    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Text features ``(P, T, D)``.

        Raises:
            InputError: A phrase has too many tokens (`phrases.check_token_count`).
        """

    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = 400.0,
        generator: torch.Generator | None = None,
    ) -> Features:
        """Features of the latents under noise, one row for each phrase (`probe.probe_features`).

        One noise is drawn for the picture and shared by its phrases, so that the features of a
        phrase do not depend on its company.

        Args:
            latents: ``(1, C, h, w)``, clean; padded to the UNet's multiple where need be.
            phrases: What conditions the pass, one row each.
            t: The timestep, 0 to 999.
            generator: Source of the noise; None means a fixed seed.
        """


class AttentiveBackbone(Backbone, Protocol):
    """A backbone whose attention can be read, for masks without a trained head."""

    @property
    def unet(self) -> nn.Module:
        """The UNet whose passes `probe` makes."""

    def count_tokens(self, phrases: Sequence[str]) -> list[int]:
        """How many tokens each phrase has, the start and the end token included."""

    def probe(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        t: float = 400.0,
        generator: torch.Generator | None = None,
        taps_of: TapsOf = find_taps,
    ) -> Features:
        """As of any backbone, but features are taken where `taps_of` finds them."""


class Posterior(NamedTuple):
    """What a VAE says of a picture: a normal distribution for every latent."""

    mode: Tensor
    """``(1, C, h, w)``, scaled as the UNet takes latents."""
    deviation: Tensor
    """``(1, C, h, w)``, its standard deviation, scaled likewise."""


@runtime_checkable
class SamplingBackbone(Backbone, Protocol):
    """A backbone whose VAE can also be sampled from, as the authors of LD-ZNet do."""

    def encode_posterior(self, image: Image) -> Posterior:
        """The distribution whose mode `encode_image` gives.

        Args:
            image: RGB, with sides in multiples of ``stride``.
        """
