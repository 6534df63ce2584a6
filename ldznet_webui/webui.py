"""What A1111, Forge and reForge have in common; it knows only modules that all of them have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from modules import call_queue, paths, prompt_parser, sd_models, shared
from torch import Tensor

from ldznet_core import CheckpointError
from ldznet_core.errors import first_line
from ldznet_core.frames import STRIDE

T = TypeVar("T")


class WebUI:
    """The part of a `Host` that is the same in all of them."""

    def model_name(self) -> str:
        """The checkpoint's name, as infotexts have it; empty if none is loaded."""
        found = getattr(sd_models.model_data.sd_model, "sd_checkpoint_info", None)
        return "" if found is None else str(found.name_for_extra)

    def exclusively(self, work: Callable[[], T]) -> T:
        """Do work while nothing is generated."""
        with call_queue.queue_lock:
            return work()

    def heads_folder(self) -> Path:
        """Where users put heads; it may not be there."""
        chosen = getattr(shared.cmd_opts, "ldznet_dir", None)
        return Path(chosen or Path(paths.models_path) / "ldznet")

    def is_interrupted(self) -> bool:
        """Whether what is running was cut short by the user, and not only what would follow it.

        By default the button "Interrupt" of a run of several pictures lets the one under way be
        finished (`stopping_generation`; modules/ui_toprow.py:105, all three).
        """
        return bool(shared.state.interrupted or shared.state.skipped)


def as_shown(work: Callable[[], T]) -> T:
    """Do work with the checkpoint that the page of A1111 or reForge shows.

    The last run may have left another: a refiner, or one for hires fix. These hosts do the same
    before each batch (A1111: modules/processing.py:941, reForge: modules/processing.py:1019). Where
    none is loaded, that is left to whoever asks for one.

    Raises:
        CheckpointError: It cannot be loaded.
    """
    try:
        if sd_models.model_data.sd_model is not None:
            sd_models.reload_model_weights()
    except Exception as error:
        raise CheckpointError(
            "expected the checkpoint that the page shows, got none, because the WebUI could not "
            f"load it: choose another at the top ({first_line(error)})"
        ) from error
    return work()


def seen_as_a_whole(model: Any, latents: Tensor, count: int) -> Tensor:
    """What SDXL's UNet is told besides words, ``(P, 2816)``: an empty prompt's, and the size.

    Args:
        model: The checkpoint, as the host has it.
        latents: As the UNet sees them, ``(1, C, h, w)``.
        count: How many phrases there are.
    """
    height, width = (STRIDE * side for side in latents.shape[-2:])
    nothing = prompt_parser.SdConditioning([""], width=width, height=height)
    vector: Tensor = model.get_learned_conditioning(nothing)["vector"]
    return vector.expand(count, -1)
