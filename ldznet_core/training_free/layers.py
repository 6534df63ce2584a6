"""Where each family's attention is read, and how it becomes a mask: data, with the reasons."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnsupportedModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What is read of a family's UNet, and how."""

    words: tuple[int, ...]
    """Blocks whose queries to the text make the mask."""
    links: tuple[int, ...]
    """Blocks whose self-attention is read."""
    image_side: int
    """Side in pixels of the square pictures that the family was trained on."""
    presence_words: tuple[int, ...] = ()
    """Blocks whose queries to the text tell whether the thing is there at all; none: the mask's."""
    depth: int = 0
    """Which transformer of a block, from 0; those of SDXL have several in a row."""
    timestep: float = 100.0
    """Of a probe: so little noise hides nothing (iSeg reads there too, arXiv 2409.03209)."""
    walk: int = 1
    """Steps that scores walk along the links."""
    edge: float = 0.5
    """Where the mask ends, from the lowest score of a picture (0) to the highest (1)."""
    presence: float = 0.17
    """Highest score less half the picture's mean, cosines, from which a thing counts as there.

    Measured on the miniature, where it serves a probe under no text and what was captured while
    sampling, under the prompt and more noise, alike. No other family was measured."""

    @property
    def asking(self) -> tuple[int, ...]:
        """All blocks whose queries to the text are read."""
        return tuple(sorted({*self.words, *self.presence_words}))


LAYERS = {
    # Measured on 500 scenes of `validation`, 128 px, and on 150 that the miniature painted anew
    # (docs/results.md): two decoder blocks of 8x8 hold the shapes, and with two more of that level
    # tell best whether a thing is there. The presence rejects 83 % of what is absent on both.
    "miniature": Layers(
        words=(11, 12),
        presence_words=(3, 11, 12, 13),
        links=(12, 13),
        image_side=128,
    ),
    # Words at a 32nd of the picture, links at a 16th: what DAAM, Dataset Diffusion and iSeg read at
    # 512 px.
    "sd1": Layers(words=(5, 6, 8, 9, 10), links=(11, 12, 13), image_side=512),
    "sd2": Layers(words=(5, 6, 8, 9, 10), links=(11, 12, 13), image_side=768),
    # Two levels only: words at a 32nd (10 transformers deep), links at a 16th (2 deep).
    "sdxl": Layers(words=(3, 4, 6, 7, 8), links=(9, 10), depth=1, image_side=1024),
}
"""By family. Block numbers count all spatial transformers in the order of a pass, from 1."""


def layers_of(family: str) -> Layers:
    """The layers of a family.

    Raises:
        UnsupportedModelError: Nobody has chosen any yet.
    """
    if family not in LAYERS:
        raise UnsupportedModelError(
            f"expected a model of {', '.join(LAYERS)} for masks without a head, got {family!r}: "
            "its attention cannot be read yet, so choose one of these"
        )
    return LAYERS[family]
