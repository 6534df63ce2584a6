"""The tests' own script: a part of the request tells it what to do to a generation.

Orders, all optional: ``prompts`` (one for each picture of the run), ``listen``, ``fail_in_pass``,
``interrupt_at_step``, ``nested``.
"""

import gradio as gr
import torch
from ldztest import faults, listening, state
from modules import script_callbacks, scripts


class TestScript(scripts.Script):
    """Carries out a request's orders; the runs that it starts itself have none."""

    def title(self):
        return "LD-ZNet tests"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Textbox(value="", visible=False)]

    def process(self, p, orders, *args):
        is_ordered = isinstance(orders, dict) and not hasattr(p, "ldztest_is_inner")
        p.ldztest_orders = orders if is_ordered else {}
        if not is_ordered:
            return
        listening.RECORDS.clear()
        torch.manual_seed(0)  # hosts go on where the run before has left it, in img2img
        if "prompts" in p.ldztest_orders:
            p.all_prompts = list(p.ldztest_orders["prompts"])

    def process_before_every_sampling(self, p, *args, **kwargs):
        orders = p.ldztest_orders
        now.interrupt_at_step = orders.get("interrupt_at_step")
        now.stop_listening()
        if orders.get("listen"):
            now.listener = listening.Listener(listening.first_prompts(kwargs["c"]))
            now.listener.start(listening.unet())
        if "fail_in_pass" in orders:
            faults.fail_in_pass(listening.unet(), orders["fail_in_pass"])

    def post_sample(self, p, sampled, *args):
        if now.listener is not None and p.ldztest_orders:
            is_decoded = getattr(sampled.samples, "already_decoded", False)
            now.listener.record.latents = None if is_decoded else sampled.samples.clone()
            listening.RECORDS.append(now.listener.record)
        now.stop_listening()

    def postprocess_image(self, p, image, *args):
        if p.ldztest_orders.get("nested"):
            small = faults.paint_again(p, image.image)
            image.image.paste(small, (0, 0))


class Now:
    """The generation that is under way; hosts make one at a time."""

    interrupt_at_step = None
    listener = None

    def stop_listening(self):
        if self.listener is not None:
            self.listener.stop()
        self.listener = None


now = Now()


def on_denoiser(params):
    if now.listener is not None:
        now.listener.start(listening.unet())  # a refiner replaces it midway
    if now.interrupt_at_step is not None and params.sampling_step >= now.interrupt_at_step:
        faults.interrupt()


script_callbacks.on_app_started(state.add_routes)
script_callbacks.on_cfg_denoiser(on_denoiser)
