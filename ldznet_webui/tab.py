"""The tab: masks of any picture or folder, and the ways in and out of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias, TypeVar

import gradio as gr
from modules import infotext_utils, shared
from modules.ui_components import ToolButton
from PIL import Image

from ldznet_core import InputError, LDZNetError
from ldznet_core.pictures import to_picture

from . import send
from .answer import Answer
from .folder import FolderRun
from .gradio_words import javascript, lossless, one_of_gallery
from .host import find_host
from .masking import mask_picture
from .panel import component_of
from .settings import BY_NAME, Settings

Component: TypeAlias = Any
T = TypeVar("T")

TITLE, ELEMENT = "LD-ZNet", "ldznet_tab"

_LOG = logging.getLogger(__name__)

_PHRASES = ("phrases", "negative_phrases")
_NUMBERS = ("threshold", "grow", "feather", "head", "invert")

_GALLERIES = ("txt2img", "img2img")
_OPEN = (
    "[...gradioApp().querySelectorAll('#tabs button')]"
    f".find(button => button.textContent.trim() === '{TITLE}')?.click()"
)
"""Shows this tab, as the host's own functions show theirs."""

_ALL = "all together"


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a session found last."""

    picture: Image.Image
    """RGB, as it was masked."""
    masks: list[Image.Image]
    """"L", of all phrases together and then of each."""


class Tab:
    """The tab of one page; it learns of the host's components while the host makes them."""

    def __init__(self) -> None:
        self._seen: dict[str, Component] = {}
        self._doors: dict[str, Component] = {}

    def see(self, component: Component, **options: Any) -> None:
        """Keep what the tab fills or takes from; the host's ``on_after_component``.

        A button that brings a picture here is put beside the host's own under each gallery.
        """
        element = options.get("elem_id")
        if element in (*send.PLACES, *(f"{name}_gallery" for name in _GALLERIES)):
            self._seen[element] = component
        for name in _GALLERIES:
            if element == f"{name}_send_to_extras":
                self._doors[name] = ToolButton(
                    "🎭",
                    elem_id=f"{name}_send_to_ldznet",
                    tooltip=f"Send image to {TITLE} tab, where words become masks.",
                )

    def build(self) -> list[tuple[gr.Blocks, str, str]]:
        """The tab, for the host's ``on_ui_tabs``."""
        with gr.Blocks(analytics_enabled=False) as blocks:
            with gr.Row():
                settings = [_setting(name) for name in _PHRASES]
            with gr.Row():
                settings += [_setting(name) for name in _NUMBERS]
            with gr.Tabs(elem_id="ldznet_modes"):
                with gr.TabItem("Picture", id="picture", elem_id="ldznet_picture_tab"):
                    self._build_picture(settings)
                with gr.TabItem("Folder", id="folder", elem_id="ldznet_folder_tab"):
                    _build_folder(settings)
        return [(blocks, TITLE, ELEMENT)]

    def _build_picture(self, settings: list[Component]) -> None:
        found = gr.State(None)
        with gr.Row():
            with gr.Column():
                picture = gr.Image(
                    label="Picture",
                    type="pil",
                    image_mode="RGBA",
                    source="upload",
                    height=480,
                    elem_id="ldznet_picture",
                    **lossless(),
                )
                with gr.Row():
                    taken = [
                        (name, gr.Button(f"From {name}", elem_id=f"ldznet_from_{name}"))
                        for name in _GALLERIES
                    ]
                find = gr.Button("Find masks", variant="primary", elem_id="ldznet_find")
                report = gr.HTML(elem_id="ldznet_report")
            with gr.Column():
                overlay = _shown("Overlay", "ldznet_overlay", height=480)
                masks = gr.Gallery(
                    label="Masks",
                    columns=4,
                    height=200,
                    object_fit="contain",
                    allow_preview=False,
                    elem_id="ldznet_gallery",
                    **lossless(),
                )
                chosen = _shown("Mask", "ldznet_mask", height=320)
                to_inpaint = gr.Button(
                    "Send to inpaint upload", interactive=False, elem_id="ldznet_send_to_inpaint"
                )
        find.click(
            _find,
            [picture, *settings],
            [found, overlay, masks, chosen, to_inpaint, report],
            api_name=False,
        )
        masks.select(_choose, [found], [chosen, to_inpaint], show_progress=False, api_name=False)
        send.connect(to_inpaint, [found, chosen], _package, self._seen)
        for name, button in taken:
            self._bring(name, button, picture)

    def _bring(self, name: str, button: Component, picture: Component) -> None:
        """Have a button here, and one under the gallery, bring a picture of it here."""
        gallery = self._seen.get(f"{name}_gallery")
        if gallery is None:
            button.visible = False
            return
        one = one_of_gallery(f"selected_gallery_index_id('{name}_gallery')")
        taken = {"fn": _take, "inputs": [gallery], "outputs": [picture], "show_progress": False}
        button.click(**taken, api_name=False, **javascript(one))
        if name in self._doors:
            brought = self._doors[name].click(**taken, api_name=False, **javascript(one))
            brought.success(None, None, None, **javascript(f"() => {{ {_OPEN}; }}"))


def _build_folder(settings: list[Component]) -> None:
    if _is_folder_refused():
        gr.HTML(f"<p>{escape(_REFUSAL)}</p>", elem_id="ldznet_folder_refused")
        return
    stop = gr.State(None)
    with gr.Row():
        with gr.Column():
            folder = gr.Textbox(
                label="Folder of pictures",
                info="Its whole path, on the machine where the server runs.",
                elem_id="ldznet_folder",
            )
            out = gr.Textbox(
                label="Folder for the masks",
                info="It is made if need be. A folder for each picture, report.json, and "
                "inpaint-masks, which img2img's Batch takes as its mask directory.",
                elem_id="ldznet_out",
            )
            with gr.Row():
                start = gr.Button("Mask the folder", variant="primary", elem_id="ldznet_start")
                interrupt = gr.Button("Interrupt", elem_id="ldznet_interrupt")
        with gr.Column():
            report = gr.HTML(elem_id="ldznet_folder_report")
            latest = _shown("Latest overlay", "ldznet_folder_overlay", height=480)
    start.click(_mask_folder, [folder, out, *settings], [stop, latest, report], api_name=False)
    interrupt.click(_interrupt, [stop], None, show_progress=False, queue=False, api_name=False)


_REFUSAL = (
    "Folders are out of reach while the server was started with --hide-ui-dir-config, or with "
    "--share, --listen or the like without --enable-insecure-extension-access."
)


def _is_folder_refused() -> bool:
    """Whether users may be strangers, who must not name paths on this machine."""
    options = shared.cmd_opts
    return bool(options.hide_ui_dir_config or options.disable_extension_access)


def _setting(name: str) -> Component:
    return component_of(BY_NAME[name], "ldznet_tab")


def _shown(label: str, element: str, height: int) -> Component:
    return gr.Image(
        label=label,
        type="pil",
        image_mode="RGB",
        interactive=False,
        height=height,
        elem_id=element,
        **lossless(),
    )


def _find(picture: Image.Image | None, *values: Any) -> tuple[Any, ...]:
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


def _settings(values: Sequence[Any]) -> Settings:
    """The settings of the tab, which always makes a probe: nothing was sampled here."""
    named = dict(zip((*_PHRASES, *_NUMBERS), values, strict=True))
    settings = Settings.of_mapping({**named, "enabled": True, "source": "probe"})
    settings.check()
    return settings


def _choose(found: Found | None, event: gr.SelectData) -> tuple[Any, Any]:
    """The outputs of a click on a thumbnail."""
    return _chosen(found.masks[event.index] if found else None)


def _chosen(mask: Image.Image | None) -> tuple[Any, Any]:
    """A mask to be shown large, and whether it can be sent: not if it is empty."""
    return mask, gr.update(interactive=mask is not None and mask.getbbox() is not None)


def _package(
    found: Found | None, chosen: Image.Image | None
) -> tuple[Image.Image, Image.Image] | None:
    """The picture that was masked, and the mask that is shown large."""
    if found is None or chosen is None:
        gr.Warning("There is no mask to send: find one first.")
        return None
    return found.picture, chosen.convert("L")


def _take(gallery: Any) -> Any:
    """A picture that the browser took out of a gallery, by the host's own reader."""
    picture = infotext_utils.image_from_url_text(gallery)
    if picture is None:
        gr.Warning("The gallery is empty: generate a picture first.")
        return gr.update()
    return picture


def _mask_folder(folder: str, out: str, *values: Any) -> Iterator[tuple[Any, ...]]:
    """The outputs of "Mask the folder", anew after each picture."""
    stop = Event()
    try:
        settings = _settings(values)
        host = find_host()
        yield stop, None, "<p>Loading the model.</p>"
        _exclusively(host.backbone)
        asked = {"model": host.model_name()}
        asked |= {name: getattr(settings, name) for name in (*_PHRASES, *_NUMBERS)}
        run = FolderRun(_path(folder, "pictures"), _path(out, "the masks"), asked)
        number = total = 0
        for step in run.steps(
            lambda picture: _exclusively(lambda: mask_picture(host, picture, settings))
        ):
            number, total = step.number, step.total
            yield stop, step.overlay or gr.update(), _progress(run, number, total, step.path.name)
            if stop.is_set():
                break
        yield stop, gr.update(), _progress(run, number, total, "")
    except Exception as error:
        yield stop, gr.update(), _sentence(error)


def _interrupt(stop: Event | None) -> None:
    if stop is not None:
        stop.set()


def _path(text: str, purpose: str) -> Path:
    """A path as it was pasted, maybe in quotes."""
    bare = text.strip().strip('"')
    if not bare:
        raise InputError(f"expected a folder for {purpose}, got none: write its whole path")
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
    masks = answer.segmentation
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
    origin = f"Model {answer.model}, head {answer.head}; features: {answer.features()}."
    return f"<table>{table}</table><p>{escape(origin)}</p>"


def _progress(run: FolderRun, number: int, total: int, latest: str) -> str:
    """How far a run over a folder is, as HTML; at its end without a latest picture."""
    where = f"{number} of {total} pictures"
    state = f"{where}, the latest {latest}" if latest else f"{where} are done; see {run.out}"
    failures = "".join(f"<li>{escape(each['error'])}</li>" for each in run.failed)
    return f"<p>{escape(state)}</p>" + (f"<ul>{failures}</ul>" if failures else "")


def _sentence(error: Exception) -> str:
    """An error as users read it; what they cannot act on goes to the log too."""
    if not isinstance(error, LDZNetError):
        _LOG.exception("LD-ZNet's tab failed")
        error = LDZNetError(f"LD-ZNet failed ({type(error).__name__}: {error}): see the log")
    return f"<div class='error'>{escape(str(error))}</div>"
