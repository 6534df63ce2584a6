"""A generation of the host, followed from its first callback to its last.

Everything that is known of it hangs on the host's processing object `p`, for hosts call
themselves: other scripts start generations within generations. Whatever goes wrong here becomes a
sentence beside the pictures, and never costs them.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image
from torch import Tensor

from ldznet_core import InputError, LDZNetError
from ldznet_core.frames import STRIDE
from ldznet_core.naming import mask_names
from ldznet_core.taps import TapsOf

from . import infotext
from .answer import Answer, extended
from .calls import is_being_processed, script_that_assembles
from .heads import KEEPER, choose_head, taps_for
from .host import Host
from .listening import Listening, Missing
from .masking import Painted, mask_painted, mask_picture
from .settings import Settings, ask_for_mask

_LOG = logging.getLogger(__name__)

ATTRIBUTE = "_ldznet"
"""Of `p`, under which its generation hangs."""

ERROR_KEY = "LD-ZNet error"
"""In an infotext, what kept masks from being made."""


_MEANT = "_ldznet_meant"
"""Of `p`, under which its own values are kept of what was changed for a picture."""

_CAREFUL = {"inpaint_full_res": False, "inpainting_mask_invert": 0}
"""Values of `p` under which an empty mask repaints nothing, and not the whole picture."""


@dataclass(slots=True)
class _Batch:
    """One batch, from its first sampling to its last picture."""

    listening: Listening | None = None
    size: tuple[int, int] = (0, 0)
    """(height, width) in pixels at which it was sampled."""
    latents: Tensor | None = None
    """``(B, C, h, w)`` on the CPU, as they were sampled last."""
    pictures: dict[int, Image.Image] = field(default_factory=dict)
    """By their place in the batch."""
    cut_short: set[int] = field(default_factory=set)
    """Places of those that the user did not let be finished."""


class Generation:
    """One call of the host's `process_images`, with the masks that were asked of it."""

    def __init__(self, p: Any, host: Host, settings: Settings, taps_of: TapsOf) -> None:
        """Begin; the settings are those of this call, and the head in them is a name, not auto."""
        self._p = weakref.ref(p)
        self._host = host
        self._taps_of = taps_of
        self.settings = settings
        self._batches: dict[int, _Batch] = {}
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
        batch = self._batch(p)
        if batch.listening is not None:
            batch.listening.stop()
        height, width = noisy.shape[-2:]
        batch.size = (STRIDE * height, STRIDE * width)
        batch.latents = None
        batch.listening = Listening(
            self._host.prompts_of, len(noisy), (height, width), self._taps_of
        )
        batch.listening.start(self._host.unet())

    def begin_step(self, p: Any, step: Any) -> None:
        """Follow the denoiser into its next step, whichever UNet is now loaded."""
        listening = self._batch(p).listening
        if listening is not None:
            listening.start(self._host.unet())
            listening.begin_step(step)

    def end_sampling(self, p: Any, samples: Any) -> None:
        """Take all hooks off, and keep the latents if they are not decoded yet."""
        batch = self._batch(p)
        if batch.listening is not None:
            batch.listening.stop()
        is_decoded = getattr(samples, "already_decoded", False)
        if isinstance(samples, Tensor) and not is_decoded:
            batch.latents = samples.detach().to("cpu", copy=True).float()

    def keep_picture(self, p: Any, picture: Image.Image) -> None:
        """Note a picture as it will be saved."""
        batch = self._batch(p)
        batch.pictures[p.batch_index] = picture
        if self._host.is_interrupted():
            batch.cut_short.add(p.batch_index)

    def end(self) -> None:
        """Take away whatever may be left, however the generation ended."""
        for batch in self._batches.values():
            if batch.listening is not None:
                batch.listening.stop()
        self._batches.clear()
        self._undo.close()
        self.is_over = True

    def painted(self, p: Any) -> list[Painted]:
        """Every picture with what was heard of it, in the order in which they were made."""
        is_cropped = getattr(p, "paste_to", None) is not None
        made = []
        for batch in self._batches.values():
            for index, picture in sorted(batch.pictures.items()):
                features = (
                    Missing("sampling was not listened to")
                    if batch.listening is None
                    else batch.listening.features_of(index)
                )
                if is_cropped:
                    features = Missing("only a part of the picture was sampled")
                latents = None if batch.latents is None else batch.latents[index : index + 1]
                was_cut_short = index in batch.cut_short
                made.append(Painted(picture, batch.size, latents, features, was_cut_short))
        return made

    def _batch(self, p: Any) -> _Batch:
        return self._batches.setdefault(p.iteration, _Batch())


class Follower:
    """Follows generations by the host's callbacks; what runs within one is let be."""

    def __init__(self, find_host: Callable[[], Host], save: Callable[..., None]) -> None:
        """Get ready.

        Args:
            find_host: Gives the host.
            save: Writes a picture as the host does; of `p`, the picture, its infotext, its number
                among those of the call, and a suffix for its name.
        """
        self._find_host = find_host
        self._save = save
        self._current: Generation | None = None

    def process(self, p: Any, arguments: Sequence[Any]) -> None:
        """Begin to follow a generation, if masks are asked of it."""
        if self._current is not None and not self._current.is_of(p):
            if self._current.is_under_way:
                return
            self._current.end()
        vars(p).pop(ATTRIBUTE, None)
        _forget_the_last(p)
        try:
            settings = Settings.of_arguments(arguments)
            if not settings.enabled:
                return
            settings.check()
            p.extra_generation_params.update(infotext.written(settings))
            host = self._find_host()
            if settings.use_as_mask and _is_given_a_picture(p):
                p.image_mask = _mask_of_what_is_given(p, host, settings)
            family = host.backbone().family  # says at once if it is unknown
            folder = host.heads_folder()
            head = choose_head(settings.head, family, folder)
            taps_of = taps_for(head, family, folder)
        except Exception as error:  # whatever it is, the picture comes first
            if ask_for_mask(arguments) and _is_given_a_picture(p):
                _repaint_nothing(p)
            _complain(p, error)
            return
        generation = Generation(p, host, replace(settings, head=head), taps_of)
        setattr(p, ATTRIBUTE, generation)
        self._current = generation
        generation.end_with(p)

    def begin_sampling(self, p: Any, noisy: Tensor) -> None:
        """Note that a sampling of latents ``(B, C, h, w)`` begins."""
        generation = generation_of(p)
        if generation is not None and generation.settings.source != "probe":
            generation.begin_sampling(p, noisy)

    def begin_step(self, step: Any) -> None:
        """Note that a denoiser begins a step; it says of which generation."""
        p = getattr(step.denoiser, "p", None)
        generation = None if p is None else generation_of(p)
        if generation is not None:
            generation.begin_step(p, step)

    def end_sampling(self, p: Any, samples: Any) -> None:
        """Note that a sampling has ended."""
        generation = generation_of(p)
        if generation is not None:
            generation.end_sampling(p, samples)

    def keep_picture(self, p: Any, picture: Image.Image) -> None:
        """Note a finished picture."""
        generation = generation_of(p)
        if generation is not None:
            generation.keep_picture(p, picture)

    def postprocess(self, p: Any, processed: Any) -> None:
        """Make the masks, and put them after the pictures."""
        generation = generation_of(p)
        if generation is None:
            return
        host = self._find_host()
        pictures = generation.painted(p)
        texts = _infotexts_of(processed, len(pictures))
        without = len(processed.images) - len(processed.infotexts)
        processed.infotexts += [""] * without  # so that each mask's is at its own place
        was_interrupted = host.is_interrupted()
        try:
            for number, painted in enumerate(pictures):
                if host.is_interrupted() and not was_interrupted:
                    raise InputError(
                        f"expected time for all masks, got interrupted before those of picture "
                        f"{number + 1}: generate again"
                    )
                answer = mask_painted(host, painted, generation.settings)
                _say(processed, f"masks of picture {number + 1}: {answer.summary()}")
                self._hand_over(p, processed, answer, painted.picture, number, texts[number])
        except Exception as error:
            _complain(p, error, processed)
        finally:
            generation.end()

    def forget(self) -> None:
        """Take away whatever hooks there are, and the head that is kept in memory."""
        if self._current is not None:
            self._current.end()
        KEEPER.forget()

    def _hand_over(
        self,
        p: Any,
        processed: Any,
        answer: Answer,
        picture: Image.Image,
        number: int,
        said: str,
    ) -> None:
        """Put the masks of a picture, of which an infotext is said, where users find them."""
        settings = answer.settings
        names = mask_names(answer.segmentation.phrases)
        results = [
            (mask, extended(said, answer.infotext(index)), f"-{name}")
            for index, (name, mask) in enumerate(zip(names, answer.masks(), strict=True))
        ]
        shown = list(results) if settings.append else []
        if settings.overlay:
            shown.append((answer.overlay(picture), extended(said, answer.origin()), ""))
        if shown and (script := script_that_assembles(p)):
            shown = []
            _say(
                processed,
                f"masks are not shown, because {script} would mistake them for its pictures",
            )
        for image, text, _ in shown:
            image.info["parameters"] = text
            processed.images.append(image)
            processed.infotexts.append(text)
        if settings.save:
            for image, text, suffix in results:
                self._save(p, image, text, number, suffix)


def generation_of(p: Any) -> Generation | None:
    """The generation that hangs on a processing object, unless it is over or a copy's."""
    generation = getattr(p, ATTRIBUTE, None)
    if not isinstance(generation, Generation) or not generation.is_of(p) or generation.is_over:
        return None
    return generation


def _is_given_a_picture(p: Any) -> bool:
    """Whether the host is to change a picture; where users chose none, pages hand over None."""
    return any(picture is not None for picture in getattr(p, "init_images", None) or ())


def _mask_of_what_is_given(p: Any, host: Host, settings: Settings) -> Image.Image:
    """What is named in the picture that the host was given, for the host to repaint.

    Raises:
        LDZNetError: It is not there, or cannot be found.
    """
    answer = mask_picture(host, p.init_images[0], settings)
    if not answer.found_anything and not settings.invert:
        is_there = any(answer.segmentation.present)  # else no threshold helps
        remedy = (
            "lower the threshold, or check the negative phrases"
            if is_there
            else "try simpler words or another head, or tick Keep absent"
        )
        raise InputError(
            f"expected something to repaint in the picture, found nothing ({answer.summary()}): "
            f"{remedy}"
        )
    return answer.union()


def _repaint_nothing(p: Any) -> None:
    """Have the host leave the picture that it was given as it is."""
    p.image_mask = Image.new("L", p.init_images[0].size)
    meant = {name: getattr(p, name) for name in _CAREFUL if hasattr(p, name)}
    setattr(p, _MEANT, meant)
    for name in meant:
        setattr(p, name, _CAREFUL[name])


def _forget_the_last(p: Any) -> None:
    """Undo what the last picture left in an object that is processed again, or in its copy."""
    for name, value in vars(p).pop(_MEANT, {}).items():
        setattr(p, name, value)
    problem = p.extra_generation_params.pop(ERROR_KEY, None)
    if problem is not None:
        p.comments.pop(f"LD-ZNet: {problem}", None)


def _complain(p: Any, problem: object, processed: Any = None) -> None:
    """Put a sentence where users of the page and of the API see it; faults of ours are logged."""
    if isinstance(problem, Exception) and not isinstance(problem, LDZNetError):
        _LOG.error("LD-ZNet failed", exc_info=problem)
        first_line = next(iter(str(problem).splitlines()), "")
        problem = f"it failed ({type(problem).__name__}: {first_line}); see the log"
    else:
        _LOG.warning("LD-ZNet: %s", problem)
    p.extra_generation_params[ERROR_KEY] = str(problem)
    if processed is None:
        p.comment(f"LD-ZNet: {problem}")
    else:
        _say(processed, str(problem))


def _say(processed: Any, sentence: str) -> None:
    """Put a sentence under the pictures, for which the host has collected its own already."""
    processed.comments = f"{processed.comments}LD-ZNet: {sentence}\n"


def _infotexts_of(processed: Any, count: int) -> list[str]:
    """The infotexts of that many pictures; one is empty where another script took it away.

    A grid goes before them. The host's own masks stand among the images, but have no infotext.
    """
    texts = processed.infotexts[processed.index_of_first_image :][:count]
    return [*map(str, texts), *[""] * (count - len(texts))]
