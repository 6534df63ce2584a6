"""A generation of the host, and what is kept of it from its first callback to its last.

Masks that need no pass of the UNet are made as soon as their picture is: of these nothing is kept
but pictures and words, and what was heard of a batch is let go when the next begins. Probes wait
for the end. While the host is at it, its UNet may not be its own: ControlNet for A1111 takes its
hold back in `postprocess`, and a scope of averaged weights (`ema_scope`) cannot be entered twice.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ldznet_core import Features
from ldznet_core.capture import Missing
from ldznet_core.frames import STRIDE
from ldznet_core.pictures import size_of

from .calls import is_being_processed
from .host import Host
from .listening import Listening, Wanted
from .masking import Painted, mask_painted
from .outcome import Labelled, Outcome
from .settings import Settings
from .telling import sentence_of

ATTRIBUTE = "_ldznet"
"""Of `p`, under which its generation hangs."""

_MOST_STRETCH = 0.02


@dataclass(slots=True)
class _Batch:
    """What was heard of one batch."""

    number: int
    listening: Listening | None = None
    size: tuple[int, int] = (0, 0)
    """(height, width) in pixels at which it was sampled."""
    latents: Tensor | None = None
    """``(B, C, h, w)`` on the CPU, as they were sampled last."""

    def features_of(self, index: int) -> Features | Missing:
        """What was heard of one of its pictures."""
        if self.listening is None:
            return Missing("sampling was not listened to")
        return self.listening.features_of(index)


class Generation:
    """One call of the host's `process_images`, with the masks that were asked of it."""

    def __init__(
        self,
        p: Any,
        host: Host,
        settings: Settings,
        wanted: Wanted,
        inpaint_mask: Labelled | None = None,
    ) -> None:
        """Begin.

        Args:
            p: Of the host.
            host: Whose model looks.
            settings: Those of this call; the head in them is a name, not auto.
            wanted: What the head wants to hear.
            inpaint_mask: What the host was given to repaint, if it was.
        """
        self._p = weakref.ref(p)
        self._host = host
        self._wanted = wanted
        self.settings = settings
        self.inpaint_mask = inpaint_mask
        self._batch: _Batch | None = None
        self._made: dict[tuple[int, int], Outcome | Painted] = {}
        self._undo = ExitStack()
        self.is_over = False

    def end_with(self, p: Any) -> None:
        """End when the host closes `p`, which it does after any failure, or lets go of it.

        Scripts that make copies of `p` do not close those: see `is_under_way`. Nothing here keeps
        `p` alive.
        """
        before, closing = vars(p).get("close"), type(p).close
        its_own = weakref.ref(p)

        def close_all() -> None:
            self.end()
            if before is not None:
                before()
            elif (p := its_own()) is not None:
                closing(p)

        def undo() -> None:
            p = its_own()
            if p is None or vars(p).get("close") is not close_all:
                return  # somebody else has wrapped it since
            if before is None:
                del p.close
            else:
                p.close = before

        p.close = close_all
        self._undo.callback(undo)
        weakref.finalize(p, self.end).atexit = False

    def is_of(self, p: Any) -> bool:
        """Whether it hangs on its own object, and not on a copy of that."""
        return self._p() is p

    @property
    def is_under_way(self) -> bool:
        """Whether the host is still at it, and did not give it up without a word."""
        p = self._p()
        return not self.is_over and p is not None and is_being_processed(p)

    def begin_sampling(self, p: Any, noisy: Tensor) -> None:
        """Listen to a sampling of latents ``(B, C, h, w)``, in the place of the one before."""
        batch = self._batch_of(p)
        if batch.listening is not None:
            batch.listening.stop()
        height, width = noisy.shape[-2:]
        batch.size = (STRIDE * height, STRIDE * width)
        batch.latents = None
        batch.listening = Listening(
            self._host.prompts_of, len(noisy), (height, width), self._wanted
        )
        batch.listening.start(self._host.unet())

    def begin_step(self, p: Any, step: Any) -> None:
        """Follow the denoiser into its next step, whichever UNet is now loaded."""
        listening = self._batch_of(p).listening
        if listening is not None:
            listening.start(self._host.unet())
            listening.begin_step(step)

    def end_sampling(self, p: Any, samples: Any) -> None:
        """Take all hooks off, and keep the latents if they are not decoded yet."""
        batch = self._batch_of(p)
        if batch.listening is not None:
            batch.listening.stop()
        is_decoded = getattr(samples, "already_decoded", False)
        if isinstance(samples, Tensor) and not is_decoded:
            batch.latents = samples.detach().to("cpu", copy=True).float()

    def keep_picture(self, p: Any, picture: Image.Image) -> None:
        """Make the masks of a picture, as it will be saved; or keep it, if it must be probed."""
        painted = self._painted(p, picture)
        is_heard = not isinstance(painted.features, Missing)
        made = self._masked(painted) if is_heard else painted
        self._made[p.iteration, p.batch_index] = made

    def outcomes(self) -> Iterator[Outcome]:
        """What became of every picture, in the order in which they were made."""
        was_interrupted = self._host.is_interrupted()
        for _, made in sorted(self._made.items(), key=lambda item: item[0]):
            if isinstance(made, Outcome):
                yield made
            elif self._host.is_interrupted() and not was_interrupted:
                yield Outcome(
                    problem="expected time for all masks, got interrupted before these were made: "
                    "generate again"
                )
            else:
                yield self._masked(made)

    def end(self) -> None:
        """Take away whatever may be left, however the generation ended."""
        self._let_go()
        self._made.clear()
        self._undo.close()
        self.is_over = True

    def _masked(self, painted: Painted) -> Outcome:
        """A picture's masks, or why there are none.

        They are made outside of the inference mode in which Forge paints, for a head that is loaded
        within it cannot be moved or changed later.
        """
        try:
            with torch.inference_mode(False):
                answer = mask_painted(self._host, painted, self.settings)
                return Outcome.of(answer, painted.picture)
        except Exception as error:  # whatever it is, the pictures come, and the other masks
            return Outcome(problem=sentence_of(error))

    def _painted(self, p: Any, picture: Image.Image) -> Painted:
        """A picture that was just made, with what was heard of it."""
        batch, index = self._batch_of(p), p.batch_index
        features = batch.features_of(index)
        if getattr(p, "paste_to", None) is not None:
            features = Missing("only a part of the picture was sampled")
        elif not isinstance(features, Missing) and _is_stretched(picture, batch.size):
            features = Missing("the picture has other proportions than what was sampled")
        if isinstance(features, Missing):
            return Painted(picture, batch.size, None, features, self._host.is_interrupted())
        latents = None if batch.latents is None else batch.latents[index : index + 1]
        return Painted(picture, batch.size, latents, features)

    def _batch_of(self, p: Any) -> _Batch:
        if self._batch is None or self._batch.number != p.iteration:
            self._let_go()
            self._batch = _Batch(p.iteration)
        return self._batch

    def _let_go(self) -> None:
        """Take the hooks off that may be left of a batch, and forget what was heard of it."""
        if self._batch is not None and self._batch.listening is not None:
            self._batch.listening.stop()
        self._batch = None


def generation_of(p: Any) -> Generation | None:
    """The generation that hangs on a processing object, unless it is over or a copy's."""
    generation = getattr(p, ATTRIBUTE, None)
    if not isinstance(generation, Generation) or not generation.is_of(p) or generation.is_over:
        return None
    return generation


def _is_stretched(picture: Image.Image, sampled_at: tuple[int, int]) -> bool:
    """Whether a picture cannot be laid over what was sampled, of (height, width) in pixels."""
    height, width = size_of(picture)
    stretch = (width / height) / (sampled_at[1] / sampled_at[0])
    return abs(stretch - 1) > _MOST_STRETCH
