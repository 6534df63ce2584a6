"""The tab: masks of any picture or folder, and the ways in and out of it."""

from __future__ import annotations

from html import escape
from typing import Any, TypeAlias

import gradio as gr
from modules import shared
from modules.ui_components import ToolButton

from . import actions, send
from .gradio_words import javascript, lossless, one_of_gallery
from .panel import component_of
from .settings import BY_NAME

Component: TypeAlias = Any

TITLE, ELEMENT = "LD-ZNet", "ldznet_tab"

_GALLERIES = ("txt2img", "img2img")
_OPEN = (
    "[...gradioApp().querySelectorAll('#tabs button')]"
    f".find(button => button.textContent.trim() === '{TITLE}')?.click()"
)
"""Shows this tab, as the host's own functions show theirs."""

_REFUSAL = (
    "Folders are switched off, because the server was started with --hide-ui-dir-config, or with "
    "--share, --listen or similar without --enable-insecure-extension-access."
)


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
                    tooltip=f"Send image to {TITLE} tab, to make masks from words.",
                )

    def build(self) -> list[tuple[gr.Blocks, str, str]]:
        """The tab, for the host's ``on_ui_tabs``."""
        with gr.Blocks(analytics_enabled=False) as blocks:
            settings = []
            for names in actions.ROWS:
                with gr.Row():
                    settings += [_setting(name) for name in names]
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
            actions.find,
            [picture, *settings],
            [found, overlay, masks, chosen, to_inpaint, report],
            api_name=False,
        )
        masks.select(
            actions.choose, [found], [chosen, to_inpaint], show_progress=False, api_name=False
        )
        send.connect(to_inpaint, [found, chosen], actions.package, self._seen)
        for name, button in taken:
            self._bring(name, button, picture)

    def _bring(self, name: str, button: Component, picture: Component) -> None:
        """Have a button here, and one under the gallery, bring a picture of it here."""
        gallery = self._seen.get(f"{name}_gallery")
        if gallery is None:
            button.visible = False
            return
        one = one_of_gallery(f"selected_gallery_index_id('{name}_gallery')")
        taken = {
            "fn": actions.take,
            "inputs": [gallery],
            "outputs": [picture],
            "show_progress": False,
        }
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
                info="Its full path, on the computer that runs the server.",
                elem_id="ldznet_folder",
            )
            out = gr.Textbox(
                label="Folder for the masks",
                info="It is created if needed. It gets a folder for each picture, report.json, and "
                "inpaint-masks, to use as the mask directory in img2img's Batch.",
                elem_id="ldznet_out",
            )
            with gr.Row():
                start = gr.Button("Mask the folder", variant="primary", elem_id="ldznet_start")
                interrupt = gr.Button("Interrupt", elem_id="ldznet_interrupt")
        with gr.Column():
            report = gr.HTML(elem_id="ldznet_folder_report")
            latest = _shown("Latest overlay", "ldznet_folder_overlay", height=480)
    start.click(
        actions.mask_folder, [folder, out, *settings], [stop, latest, report], api_name=False
    )
    interrupt.click(
        actions.interrupt, [stop], None, show_progress=False, queue=False, api_name=False
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
