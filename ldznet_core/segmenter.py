"""Named masks of a picture: the one path from phrases to masks, for every caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from .backbone import Backbone
from .capture import Features
from .errors import InputError, UnsupportedModelError
from .frames import STRIDE
from .head import Head
from .phrases import fill_template
from .pictures import pad_picture, scale_to_area, size_of, to_picture
from .segmentation import Request, Segmentation, read_logits

if TYPE_CHECKING:
    from .pictures import Picture

BlockFeatures: TypeAlias = Features | Mapping[int, Tensor]
FeatureSource: TypeAlias = Callable[[slice, list[str]], BlockFeatures | None]


class Segmenter:
    """Finds what phrases name, with a head that understands the backbone's latents."""

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        *,
        phrases_per_pass: int = 16,
        on_pass: Callable[[], None] | None = None,
    ) -> None:
        """Join a backbone and a head; neither is changed.

        Args:
            backbone: Encodes pictures and phrases, and takes features from its UNet.
            head: Trained for the backbone's family.
            phrases_per_pass: How many phrases go through the networks at once.
            on_pass: Told of each such pass when it is done.

        Raises:
            UnsupportedModelError: The head is for another family, or for another kind of VAE.
        """
        if head.config.family != backbone.family:
            raise UnsupportedModelError(
                f"expected a head for {backbone.family!r}, got one for {head.config.family!r}: "
                "load the head that was trained on this model"
            )
        if backbone.stride != STRIDE:
            raise UnsupportedModelError(
                f"expected a VAE with {STRIDE} pixels to a latent, got {backbone.stride}: "
                "choose a model of another family"
            )
        self.backbone = backbone
        self.head = head
        self.phrases_per_pass = phrases_per_pass
        self.on_pass = on_pass

    def segment_image(
        self,
        image: Picture,
        phrases: Sequence[str],
        negatives: Sequence[str] = (),
        threshold: float | None = 0.5,
    ) -> Segmentation:
        """Masks of a picture at its own size, by a probe of the backbone for each phrase.

        The picture is scaled to the area on which the head was trained and its edge repeated up
        to whole latents; the logits are cut and resized back.

        Args:
            image: A PIL image of any mode, a ``(H, W, 3)`` uint8 array, or a ``(1, 3, H, W)``
                tensor in [-1, 1].
            phrases: What to find, a mask each.
            negatives: What to take out of every mask.
            threshold: Probability above which a pixel is in the mask; None is the head's own.

        Raises:
            InputError: The picture, a phrase or the threshold cannot be used.
        """
        request = self._request(phrases, negatives, threshold)
        picture = to_picture(image)
        working = scale_to_area(picture, self.head.config.image_side)
        with _inference(self.head):
            latents = self.backbone.encode_image(pad_picture(working, self.backbone.stride))
        return self._probed(latents, request, size_of(working), size_of(picture))

    def segment_latents(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        negatives: Sequence[str] = (),
        threshold: float | None = 0.5,
        size: tuple[int, int] | None = None,
    ) -> Segmentation:
        """Masks from latents alone, by a probe of the backbone for each phrase.

        Args:
            latents: ``(1, C, h, w)``, clean, of any size.
            phrases: What to find, a mask each.
            negatives: What to take out of every mask.
            threshold: Probability above which a pixel is in the mask; None is the head's own.
            size: (height, width) of the masks; None is the decoded picture's, (8h, 8w).

        Raises:
            InputError: The latents, a phrase or the threshold cannot be used.
        """
        request = self._request(phrases, negatives, threshold)
        decoded = (STRIDE * latents.shape[-2], STRIDE * latents.shape[-1])
        return self._probed(latents, request, decoded, size or decoded)

    def segment_features(
        self,
        latents: Tensor,
        features: BlockFeatures | None,
        phrases: Sequence[str],
        negatives: Sequence[str] = (),
        threshold: float | None = 0.5,
        size: tuple[int, int] | None = None,
    ) -> Segmentation:
        """Masks from latents and features that are there already, such as a sampler's.

        Args:
            latents: ``(1, C, h, w)``, clean, of any size.
            features: The taps' features of this picture by block number: one row for all, or one
                for each phrase and then each negative. None will do for a head without taps.
            phrases: What to find, a mask each.
            negatives: What to take out of every mask.
            threshold: Probability above which a pixel is in the mask; None is the head's own.
            size: (height, width) of the masks; None is the decoded picture's, (8h, 8w).

        Raises:
            InputError: A tensor, a phrase or the threshold cannot be used.
        """
        request = self._request(phrases, negatives, threshold)
        self._check_latents(latents)
        blocks = self._checked_features(features, len(request.asked))
        if size is not None and min(size) < 1:
            raise InputError(f"expected masks of at least 1x1 pixels, got {size}: give both sides")

        def select(rows: slice, texts: list[str]) -> Mapping[int, Tensor]:
            return {n: block[rows] if len(block) > 1 else block for n, block in blocks.items()}

        with _inference(self.head):
            logits = self._logits(latents, request, select)
        known = features if isinstance(features, Features) and blocks else None
        return read_logits(
            logits.clone(),
            request,
            size or (logits.shape[1], logits.shape[2]),
            self.head.config.presence_threshold,
            source=known.source if known else None,
            timestep=known.timestep if known else None,
        )

    def segment_sampled(
        self,
        latents: Tensor,
        features: BlockFeatures | None,
        phrases: Sequence[str],
        negatives: Sequence[str] = (),
        threshold: float | None = 0.5,
    ) -> Segmentation:
        """Masks of what a sampler made: by the features it left, or by a probe if it left none.

        The arguments are those of `segment_features`; None for the features means none were left.
        """
        if features is None:
            return self.segment_latents(latents, phrases, negatives, threshold)
        return self.segment_features(latents, features, phrases, negatives, threshold)

    def _probed(
        self, latents: Tensor, request: Request, frame: tuple[int, int], size: tuple[int, int]
    ) -> Segmentation:
        """Masks of a size, of the part of the latents' picture that lies in the frame."""
        config = self.head.config
        self._check_latents(latents)

        def probe(rows: slice, texts: list[str]) -> Features:
            return self.backbone.probe(latents, texts, t=config.timestep)

        with _inference(self.head):
            logits = self._logits(latents, request, probe if config.taps else _no_features)
        return read_logits(
            logits[:, : frame[0], : frame[1]].clone(),
            request,
            size,
            config.presence_threshold,
            source="probe" if config.taps else None,
            timestep=config.timestep if config.taps else None,
        )

    def _request(
        self, phrases: Sequence[str], negatives: Sequence[str], threshold: float | None
    ) -> Request:
        if threshold is None:
            threshold = self.head.config.mask_threshold
        return Request.checked(phrases, negatives, threshold)

    def _check_latents(self, latents: Tensor) -> None:
        channels = self.head.config.unet.in_channels
        if latents.ndim != 4 or len(latents) != 1 or latents.shape[1] != channels:
            raise InputError(
                f"expected the latents of one picture, (1, {channels}, h, w), got "
                f"{tuple(latents.shape)}: pass pictures one by one, encoded for "
                f"{self.backbone.family!r}"
            )
        _check_finite(latents, "latents")

    def _checked_features(self, features: BlockFeatures | None, rows: int) -> dict[int, Tensor]:
        """The features that the head reads; what is missing or misshapen is the head's to say."""
        given = features.blocks if isinstance(features, Features) else features or {}
        read = {block: given[block] for block in self.head.config.taps if block in given}
        for block, feature in read.items():
            if len(feature) not in (1, rows):
                raise InputError(
                    f"expected 1 or {rows} rows of features in block {block}, got {len(feature)}: "
                    "one for the picture, or one for each phrase and negative"
                )
            _check_finite(feature, f"features of block {block}")
        return read

    def _logits(self, latents: Tensor, request: Request, features_of: FeatureSource) -> Tensor:
        """``(P, 8h, 8w)`` in float32, of the phrases and then the negatives."""
        passes = []
        for start in range(0, len(request.asked), self.phrases_per_pass):
            rows = slice(start, start + self.phrases_per_pass)
            texts = fill_template(self.head.config.template, request.asked[rows])
            context = self.backbone.encode_text(texts)
            passes.append(self.head(latents, context, features_of(rows, texts)))
            if self.on_pass:
                self.on_pass()
        logits = torch.cat(passes)[:, 0].float()
        _check_finite(logits, "logits of the head (load it with dtype=torch.float32)")
        return logits


@contextmanager
def _inference(head: Head) -> Iterator[None]:
    """No gradients, and a network in eval mode until the end; then in its own mode again.

    What is made in here refuses to be written to outside: results that a caller gets are cloned.
    """
    was_training = isinstance(head, nn.Module) and head.training
    if isinstance(head, nn.Module):
        head.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if isinstance(head, nn.Module):
            head.train(was_training)


def _no_features(rows: slice, texts: list[str]) -> None:
    """What a head without taps is given."""


def _check_finite(tensor: Tensor, name: str) -> None:
    if not bool(tensor.isfinite().all()):
        raise InputError(
            f"expected finite numbers, got NaN or infinity in the {name}: sample or encode the "
            "picture again, in float32 if it was in half precision"
        )
