"""What a segmenter is shown: a picture as it is, or one that the miniature has just painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ..miniature import Miniature
from ..segmentation import Segmentation
from ..segmenter import Segmenter
from .cases import Case
from .painted import Painted, paint_anew


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture, RGB."""

    picture: Image.Image
    painted: Painted | None = None
    """What was left when the miniature painted it."""

    def segment(
        self, segmenter: Segmenter, phrases: Sequence[str], threshold: float | None
    ) -> Segmentation:
        """Masks by what was captured while it was painted, of any other picture by a probe.

        Args:
            segmenter: What is asked.
            phrases: What to find, a mask each.
            threshold: Of the masks; None is the head's own.
        """
        if self.painted is None:
            return segmenter.segment_image(self.picture, phrases, threshold=threshold)
        latents, captured = self.painted
        features = segmenter.aim.nearest(captured)
        return segmenter.segment_sampled(
            latents, features, phrases, threshold=threshold, picture=self.picture
        )


def show(case: Case, number: int, painter: Miniature | None) -> Shown:
    """A case's picture.

    Args:
        case: The scene.
        number: Of the case, which seeds its noise.
        painter: Paints the scene anew; None leaves it as it is.
    """
    picture = Image.fromarray(case.scene.image)
    if painter is None:
        return Shown(picture)
    painted = paint_anew(painter, case, painter.encode_image(picture), number)
    return Shown(painter.decode_image(painted.latents), painted)
