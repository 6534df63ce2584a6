"""What the tab's buttons do: from what is in the page to what is shown in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import gradio as gr
from modules import infotext_utils
from PIL import Image

from ldznet_core import InputError, LDZNetError
from ldznet_core.pictures import to_picture
from ldznet_core.results.folders import identity

from .answer import Answer
from .folder import FolderRun, Step
from .heads import choose_head, head_files
from .host import Host, find_host
from .masking import mask_picture
from .settings import Settings

T = TypeVar("T")

ROWS = (
    ("phrases", "negative_phrases"),
    ("threshold", "grow", "feather"),
    ("head", "invert", "keep_absent"),
)
"""What can be set in the tab, as it stands there."""

SETTINGS = tuple(name for row in ROWS for name in row)
"""These are the last arguments of what works, in this order."""

_LOG = logging.getLogger(__name__)

_ALL = "all together"


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a session found last."""

    picture: Image.Image
    """RGB, as it was masked."""
    masks: list[Image.Image]
    """"L", of all phrases together and then of each."""


def find(picture: Image.Image | None, *values: Any) -> tuple[Any, ...]:
    """The outputs of "Find masks"; where it fails, a sentence and nothing else."""
    try:
        settings = _settings(values)
        if picture is None:
            raise InputError("expected a picture, got none: drop one, or take it from a gallery")
        shown = to_picture(picture)
        answer = _exclusively(lambda: mask_picture(find_host(), shown, settings))
        masks = [answer.union(), *answer.masks()]
        return (
            Found(shown, masks),
            answer.overlay(shown),
            list(zip(masks, _captions(answer), strict=True)),
            *_chosen(masks[0]),
            _words(answer),
        )
    except Exception as error:
        return None, None, None, *_chosen(None), _sentence(error)


def choose(found: Found | None, event: gr.SelectData) -> tuple[Any, Any]:
    """The outputs of a click on a thumbnail."""
    return _chosen(found.masks[event.index] if found else None)


def package(
    found: Found | None, chosen: Image.Image | None
) -> tuple[Image.Image, Image.Image] | None:
    """The picture that was masked, and the mask that is shown large."""
    if found is None or chosen is None:
        gr.Warning("There is no mask to send: find one first.")
        return None
    return found.picture, chosen.convert("L")


def take(gallery: Any) -> Any:
    """A picture that the browser took out of a gallery, by the host's own reader."""
    picture = infotext_utils.image_from_url_text(gallery)
    if picture is None:
        gr.Warning("The gallery is empty: generate a picture first.")
        return gr.update()
    return picture


def mask_folder(folder: str, out: str, *values: Any) -> Iterator[tuple[Any, ...]]:
    """The outputs of "Mask the folder", anew after each picture."""
    stop = Event()
    try:
        settings = _settings(values)
        places = _path(folder, "pictures"), _path(out, "the masks")
        host = find_host()
        yield stop, None, "<p>Loading the model.</p>"
        family = _exclusively(host.backbone).family
        run = FolderRun(*places, _asked(host, settings, family))
        total = 0

        def mask(picture: Image.Image) -> Answer:
            return _exclusively(lambda: mask_picture(host, picture, settings))

        with closing(run.steps(mask)) as steps:
            for step in steps:
                total = step.total
                yield stop, step.overlay or gr.update(), _under_way(run, step)
                if stop.is_set():
                    break
        yield stop, gr.update(), _ended(run, total)
    except Exception as error:
        yield stop, gr.update(), _sentence(error)


def _asked(host: Host, settings: Settings, family: str) -> dict[str, Any]:
    """All that the masks of a folder depend on besides the pictures, for JSON."""
    folder = host.heads_folder()
    head = choose_head(settings.head, family, folder)
    return {
        "model": host.model_name(),
        **{name: getattr(settings, name) for name in SETTINGS},
        "head": head,
        "head_files": [identity(file) for file in head_files(head, folder)],
    }


def interrupt(stop: Event | None) -> None:
    """End a run over a folder once the picture that is under way is masked."""
    if stop is not None:
        stop.set()


def _settings(values: Sequence[Any]) -> Settings:
    """The settings of the tab, which always makes a probe: nothing was sampled here."""
    named = dict(zip(SETTINGS, values, strict=True))
    settings = Settings.of_mapping({**named, "enabled": True, "source": "probe"})
    settings.check()
    return settings


def _chosen(mask: Image.Image | None) -> tuple[Any, Any]:
    """A mask to be shown large, and whether it can be sent: not if it is empty."""
    return mask, gr.update(interactive=mask is not None and mask.getbbox() is not None)


def _path(text: str, purpose: str) -> Path:
    """A path as it was pasted, maybe in quotes."""
    bare = text.strip().strip('"')
    if not bare:
        raise InputError(f"expected a folder for {purpose}, got none: enter its full path")
    return Path(bare)


def _exclusively(work: Callable[[], T]) -> T:
    return find_host().exclusively(work)


def _captions(answer: Answer) -> list[str]:
    masks = answer.segmentation
    scored = zip(masks.phrases, masks.found, masks.scores, strict=True)
    return [
        _ALL,
        *(f"{name} {score:.2f}" if found else f"{name}: none" for name, found, score in scored),
    ]


def _words(answer: Answer) -> str:
    """What was found, and how, as HTML."""
    masks = answer.treated()
    rows = [("phrase", "", "score", "area")] + [
        (
            phrase,
            answer.verdict(index),
            f"{masks.scores[index]:.2f}",
            f"{float(masks.masks[index].mean()):.1%}",
        )
        for index, phrase in enumerate(masks.phrases)
    ]
    table = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    hint = f" Hint: {masks.hint()}." if masks.hint() else ""
    origin = f"Model {answer.model}, head {answer.head}; features: {answer.features()}.{hint}"
    return f"<table>{table}</table><p>{escape(origin)}</p>"


def _under_way(run: FolderRun, latest: Step) -> str:
    """How far a run over a folder is, as HTML."""
    state = f"{latest.number} of {latest.total} pictures, the latest {latest.path.name}"
    return f"<p>{escape(state)}</p>{_failures(run)}"


def _ended(run: FolderRun, total: int) -> str:
    """What a run over a folder has done, as HTML."""
    state = f"{len(run.reports)} of {total} pictures are masked; see {run.out}"
    return f"<p>{escape(state)}</p>{_failures(run)}"


def _failures(run: FolderRun) -> str:
    items = "".join(f"<li>{escape(each['error'])}</li>" for each in run.failed)
    return f"<ul>{items}</ul>" if items else ""


def _sentence(error: Exception) -> str:
    """An error as users read it; what they cannot act on goes to the log too."""
    if not isinstance(error, LDZNetError):
        _LOG.exception("LD-ZNet's tab failed")
        error = LDZNetError(f"LD-ZNet failed ({type(error).__name__}: {error}): see the log")
    return f"<div class='error'>{escape(str(error))}</div>"
