"""The generations of the host, followed by its callbacks.

Everything that is known of one hangs on the host's processing object `p`, for hosts call
themselves: other scripts start generations within generations. Whatever goes wrong here becomes a
sentence beside the pictures, and never costs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image
from torch import Tensor

from . import infotext, repainting, telling
from .answer import extended
from .calls import script_that_assembles
from .generation import ATTRIBUTE, Generation, generation_of
from .heads import KEEPER, choose_head, wanted_by
from .host import Host
from .outcome import Labelled, Outcome
from .settings import Settings, ask_for_mask


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
        telling.forget(p)
        repainting.restore(p)
        try:
            settings = Settings.of_arguments(arguments)
            if not settings.enabled:
                return
            settings.check()
            p.extra_generation_params.update(infotext.written(settings))
            host = self._find_host()
            inpaint_mask = None
            if settings.use_as_mask and repainting.is_given_a_picture(p):
                inpaint_mask = repainting.repaint_what_is_named(p, host, settings)
            family = host.backbone().family  # says at once if it is unknown
            folder = host.heads_folder()
            head = choose_head(settings.head, family, folder)
            wanted = wanted_by(head, family, folder)
        except Exception as error:  # whatever it is, the picture comes first
            if ask_for_mask(arguments) and repainting.is_given_a_picture(p):
                repainting.repaint_nothing(p)
            telling.complain(p, telling.sentence_of(error))
            return
        settings = replace(settings, head=head)
        generation = Generation(p, host, settings, wanted, inpaint_mask)
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
        """Put the masks after the pictures; those that need a probe are made now."""
        generation = generation_of(p)
        if generation is None:
            return
        try:
            self._hand_over_all(p, processed, generation)
        except Exception as error:
            problem = telling.sentence_of(error)
            telling.complain_of(p, processed, {problem: [1]}, count=1)
        finally:
            generation.end()

    def forget(self) -> None:
        """Take away whatever hooks there are, and the head that is kept in memory."""
        if self._current is not None:
            self._current.end()
        KEEPER.forget()

    def _hand_over_all(self, p: Any, processed: Any, generation: Generation) -> None:
        settings = generation.settings
        texts = _infotexts_of(processed)
        without = len(processed.images) - len(processed.infotexts)
        processed.infotexts += [""] * without  # so that each mask's is at its own place
        problems: dict[str, list[int]] = {}
        number = 0
        for number, outcome in enumerate(generation.outcomes(), start=1):
            problem = outcome.problem
            if not problem:
                telling.say(processed, f"masks of picture {number}: {outcome.summary}")
                said = texts[number - 1] if number <= len(texts) else ""
                try:
                    self._hand_over(p, processed, settings, outcome, number - 1, said)
                except Exception as error:  # a disk may be full
                    problem = telling.sentence_of(error)
            if problem:
                problems.setdefault(problem, []).append(number)
        if generation.inpaint_mask is not None:
            said = texts[0] if texts else ""
            self._hand_over_inpaint_mask(p, processed, settings, generation.inpaint_mask, said)
        telling.complain_of(p, processed, problems, count=number)

    def _hand_over(
        self,
        p: Any,
        processed: Any,
        settings: Settings,
        outcome: Outcome,
        number: int,
        said: str,
    ) -> None:
        """Put the masks of a picture, of which an infotext is said, where users find them."""
        shown = [*outcome.masks] if settings.append else []
        _show(p, processed, [*shown, *([outcome.overlay] if outcome.overlay else [])], said)
        if settings.save:
            for image, parameters, suffix in outcome.masks:
                self._save(p, image, extended(said, parameters), number, suffix)

    def _hand_over_inpaint_mask(
        self, p: Any, processed: Any, settings: Settings, mask: Labelled, said: str
    ) -> None:
        """Put the mask that the host was given, once, after those of its results."""
        if settings.append and _show(p, processed, [mask], said):
            telling.say(processed, "the last picture is the mask for inpainting")
        if settings.save:
            self._save(p, mask.image, extended(said, mask.parameters), 0, mask.suffix)


def _show(p: Any, processed: Any, shown: Sequence[Labelled], said: str) -> bool:
    """Put pictures after those of the host, unless a script would take them for these.

    Returns:
        Whether they are there.
    """
    if not shown:
        return False
    if script := script_that_assembles(p):
        telling.say(
            processed,
            f"masks are not shown, because {script} would mistake them for its pictures",
        )
        return False
    for image, parameters, _ in shown:
        image.info["parameters"] = text = extended(said, parameters)
        processed.images.append(image)
        processed.infotexts.append(text)
    return True


def _infotexts_of(processed: Any) -> list[str]:
    """The infotexts of the pictures; there are fewer where another script took some away.

    A grid goes before them. The host's own masks stand among the images, but have no infotext.
    """
    return [*map(str, processed.infotexts[processed.index_of_first_image :])]
