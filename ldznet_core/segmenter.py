"""Named masks of a picture: the one path from phrases to masks, for every caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .backbone import Backbone, Posterior, SamplingBackbone
from .capture import Aim, Features, aim_of, blocks_of
from .checks import ANEW, check_finite, check_latents, checked_features, checked_size
from .errors import InputError, UnsupportedModelError
from .frames import STRIDE
from .head import Head
from .looks import BlockFeatures, Probed, Seen, given_passes, make_pass, plan_looks
from .pictures import pad_picture, resized, size_of, to_picture
from .preprocessing import working_picture
from .procedure import Procedure
from .segmentation import Request, Segmentation, read_logits
from .training_free import Attention, TrainingFree

if TYPE_CHECKING:
    from PIL.Image import Image

    from .pictures import Picture

__all__ = ["BlockFeatures", "Probed", "Segmenter"]


class Segmenter:
    """Finds what phrases name, with a head that understands the backbone's latents."""

    def __init__(
        self,
        backbone: Backbone,
        head: Head | TrainingFree,
        *,
        phrases_per_pass: int = 16,
        on_pass: Callable[[], None] | None = None,
        procedure: Procedure | None = None,
        keep_absent: bool = False,
    ) -> None:
        """Join a backbone and a head; neither is changed.

        Args:
            backbone: Encodes pictures and phrases, and takes features from its UNet.
            head: Trained for the backbone's family; or none, which fits the families it knows.
            phrases_per_pass: How many phrases go through the networks at once.
            on_pass: Told when the masks of so many phrases are done.
            procedure: How pictures are looked at; None is the default one, without chance.
            keep_absent: Whether what is told not to be there has a mask nevertheless: where it
                would be likeliest, cut at the same threshold after the doubt that it is there at
                all is taken out. Scores and what is found stay the same.

        Raises:
            InputError: There are no phrases in a pass.
            UnsupportedModelError: The head is for another family, or for another kind of VAE; or
                the procedure samples from a VAE that this backbone does not let be sampled.
        """
        if phrases_per_pass < 1:
            raise InputError(f"expected at least 1 phrase in a pass, got {phrases_per_pass}")
        if isinstance(head, TrainingFree):
            head = head.for_family(backbone.family)
        if not hasattr(head, "config"):  # a caller without types may give its name
            raise InputError(
                f"expected a head, got {head!r}: pass what load_head gives, such as "
                'load_head("miniature")'
            )
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
        self.procedure = procedure or Procedure()
        self.keep_absent = keep_absent
        if self.procedure.has_official_randomness and not isinstance(backbone, SamplingBackbone):
            raise UnsupportedModelError(
                "expected a model whose VAE can be sampled from, for the official randomness, got "
                f"{backbone.family!r}: leave that out, or take an SD 1.x model"
            )

    def segment_image(
        self,
        image: Picture,
        phrases: Sequence[str],
        negatives: Sequence[str] = (),
        threshold: float | None = 0.5,
        size: tuple[int, int] | None = None,
    ) -> Segmentation:
        """Masks of a picture at its own size, by a probe of the backbone.

        The picture is brought to the size on which the head was trained, as the procedure says,
        and its edge repeated up to whole latents; the logits are cut and resized back.

        Args:
            image: A PIL image of any mode, a ``(H, W, 3)`` uint8 array, or a ``(1, 3, H, W)``
                tensor in [-1, 1].
            phrases: What to find, a mask each.
            negatives: What to take out of every mask.
            threshold: Probability above which a pixel is in the mask; None is the head's own.
            size: (height, width) of the masks; None is the picture's.

        Raises:
            InputError: The picture, a phrase, the threshold or the size cannot be used.
        """
        return self.segment_probed(self._look_at(image, phrases, negatives, threshold, size))

    def probe_image(
        self,
        image: Picture,
        phrases: Sequence[str],
        negatives: Sequence[str] = (),
        threshold: float | None = 0.5,
        size: tuple[int, int] | None = None,
    ) -> Probed:
        """All that `segment_image` does before it calls the head, for `segment_probed`.

        So one backbone can look at many pictures while the head need not be in memory. What is
        kept for a phrase is as large as the features of a pass.
        """
        probed = self._look_at(image, phrases, negatives, threshold, size)
        with torch.inference_mode():
            return replace(probed, seen=list(probed.seen))

    def segment_probed(self, probed: Probed) -> Segmentation:
        """Masks of a picture that `probe_image` looked at.

        Raises:
            InputError: The logits are not finite, or a phrase cannot be used.
        """
        by_rows: dict[int, list[Tensor]] = {}
        origins = set()
        with _inference(self.head):
            for each in probed.seen:
                logits = self.head(each.latents, each.context, each.features)[:, 0].float()
                check_finite(logits, "logits of the head", self._remedy())
                by_rows.setdefault(each.rows.start, []).append(logits)
                if isinstance(each.features, Features | Attention):
                    origins.add((each.features.source, each.features.timestep))
                if self.on_pass:
                    self.on_pass()
            logits = torch.cat([torch.stack(several).mean(dim=0) for several in by_rows.values()])
        height, width = probed.frame
        return read_logits(
            logits[:, :height, :width].clone(),
            probed.request,
            probed.size,
            self.head.config.presence_threshold,
            source=next(iter(origins))[0] if origins else None,
            timestep=next(iter(origins))[1] if len(origins) == 1 else None,
        )

    def segment_latents(
        self,
        latents: Tensor,
        phrases: Sequence[str],
        negatives: Sequence[str] = (),
        threshold: float | None = 0.5,
        size: tuple[int, int] | None = None,
    ) -> Segmentation:
        """Masks from latents alone, by a probe of the backbone.

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
        self._check_latents(latents)
        frame = (STRIDE * latents.shape[-2], STRIDE * latents.shape[-1])
        has_chance = self.procedure.has_official_randomness
        picture = latents.detach().float().cpu().numpy().tobytes() if has_chance else b""
        seen = self._probes(request, latents, picture)
        return self.segment_probed(Probed(request, seen, frame, checked_size(size) or frame))

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
        given = blocks_of(features)
        blocks = checked_features(given, self.head.config.taps, len(request.asked))
        frame = (STRIDE * latents.shape[-2], STRIDE * latents.shape[-1])
        template = self.procedure.template or self.head.config.template
        seen = given_passes(
            self.backbone,
            self.head,
            template,
            request,
            latents,
            features,
            blocks,
            self.phrases_per_pass,
        )
        return self.segment_probed(Probed(request, seen, frame, checked_size(size) or frame))

    def segment_sampled(
        self,
        latents: Tensor,
        features: BlockFeatures | None,
        phrases: Sequence[str],
        negatives: Sequence[str] = (),
        threshold: float | None = 0.5,
        picture: Picture | None = None,
    ) -> Segmentation:
        """Masks of what a sampler made: by the features it left, or by a probe if it left none.

        Heads have learned from the latents of pictures. What a sampler ends with is not quite that,
        as the VAE's decoder passes over a part of it. So where the picture is at hand, its own
        latents are read, and more is found: docs/results.md has the figures.

        Args:
            latents: As the sampler left them, otherwise as of `segment_features`.
            features: Likewise; None means that none were left.
            phrases: What to find, a mask each.
            negatives: What to take out of every mask.
            threshold: Probability above which a pixel is in the mask; None is the head's own.
            picture: What the latents were decoded to, as of `segment_image`; masks are of its size.

        Raises:
            InputError: A tensor, the picture, a phrase or the threshold cannot be used.
        """
        asked = (phrases, negatives, threshold)
        if picture is None:
            if features is None:
                return self.segment_latents(latents, *asked)
            return self.segment_features(latents, features, *asked)
        if features is None:
            return self.segment_image(picture, *asked)
        shown = to_picture(picture)
        if self.reads_latents:
            sampled_at = (STRIDE * latents.shape[-2], STRIDE * latents.shape[-1])
            latents = self.latents_of(shown, sampled_at)
        return self.segment_features(latents, features, *asked, size=size_of(shown))

    @property
    def aim(self) -> Aim:
        """Which of a sampler's passes the head wants to see."""
        return aim_of(self.head.config.timestep)

    @property
    def reads_latents(self) -> bool:
        """Whether the head reads latents beside features; attention alone needs none."""
        return self.head.config.reads != "attention"

    def latents_of(self, picture: Picture, sampled_at: tuple[int, int]) -> Tensor:
        """The latents ``(1, C, h, w)`` of a picture that a sampler made.

        Args:
            picture: As of `segment_image`; whatever came after the sampler may have resized it.
            sampled_at: (height, width) in pixels that the sampler worked at, multiples of 8.
        """
        with torch.inference_mode():
            return self.backbone.encode_image(resized(to_picture(picture), sampled_at))

    def _look_at(
        self,
        image: Picture,
        phrases: Sequence[str],
        negatives: Sequence[str],
        threshold: float | None,
        size: tuple[int, int] | None,
    ) -> Probed:
        """A picture with its probes still to be made."""
        request = self._request(phrases, negatives, threshold)
        picture = to_picture(image)
        masks_size = checked_size(size) or size_of(picture)
        working = working_picture(picture, self.head.config.image_side, self.procedure.preprocess)
        with torch.inference_mode():
            latents = self._encoded(pad_picture(working, self.backbone.stride))
        self._check_latents(latents.mode if isinstance(latents, Posterior) else latents)
        seen = self._probes(request, latents, working.tobytes())
        return Probed(request, seen, size_of(working), masks_size)

    def _probes(
        self, request: Request, latents: Posterior | Tensor, picture: bytes
    ) -> Iterator[Seen]:
        config, per_pass = self.head.config, self.phrases_per_pass
        for look in plan_looks(self.procedure, config, request, latents, per_pass, picture):
            yield from make_pass(self.backbone, self.head, look)

    def _encoded(self, picture: Image) -> Posterior | Tensor:
        if self.procedure.has_official_randomness and isinstance(self.backbone, SamplingBackbone):
            return self.backbone.encode_posterior(picture)
        return self.backbone.encode_image(picture)

    def _request(
        self, phrases: Sequence[str], negatives: Sequence[str], threshold: float | None
    ) -> Request:
        if threshold is None:
            threshold = self.head.config.mask_threshold
        return Request.checked(phrases, negatives, threshold, self.keep_absent)

    def _check_latents(self, latents: Tensor) -> None:
        check_latents(latents, self.head.config.in_channels, self.backbone.family)

    def _remedy(self) -> str:
        """What may help against logits that are no numbers; a head without weights has no dtype."""
        if self.head.config.reads == "attention":
            return ANEW
        return "load the head in float32, or take another"


@contextmanager
def _inference(head: Head) -> Iterator[None]:
    """No gradients, and a network in eval mode until the end; one in training then trains again.

    What is made in here refuses to be written to outside: results that a caller gets are cloned.
    """
    trained = head if isinstance(head, nn.Module) and head.training else None
    if trained is not None:
        trained.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if trained is not None:
            trained.train()
