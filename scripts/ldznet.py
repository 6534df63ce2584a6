"""LD-ZNet's door for A1111, Forge and reForge: it hands on what the host calls, and nothing else.

Hosts run this file as a script, anew on every reload; the packages that it imports stay loaded.
"""

from modules import images, script_callbacks, scripts, shared

from ldznet_webui import api, panel, tab
from ldznet_webui.host import find_host
from ldznet_webui.script import Follower

TITLE = "LD-ZNet"


def save(p, picture, infotext, number, suffix):
    """Write a mask beside its picture; always as PNG, for JPEG would blur its edge."""
    number = min(number, len(p.all_seeds) - 1)
    seed, prompt = p.all_seeds[number], p.all_prompts[number]
    images.save_image(
        picture, p.outpath_samples, "", seed, prompt, "png", info=infotext, p=p, suffix=suffix
    )


follower = Follower(find_host, save)


class LDZNetScript(scripts.Script):
    """Masks of the pictures that are generated."""

    def title(self):
        """The name under which requests address it."""
        return TITLE

    def show(self, is_img2img):
        """In both tabs, always."""
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        """The panel's components, in the order of the settings."""
        components = panel.build_panel(is_img2img)
        self.infotext_fields = panel.infotext_fields(components)
        self.paste_field_names = panel.paste_field_names()
        return components

    def process(self, p, *arguments):
        """Before anything is made."""
        follower.process(p, arguments)

    def process_before_every_sampling(self, p, *arguments, x, **rest):
        """Once for each batch, and once more for its high-resolution fix."""
        follower.begin_sampling(p, x)

    def post_sample(self, p, sampled, *arguments):
        """As soon as a batch is sampled."""
        follower.end_sampling(p, sampled.samples)

    def postprocess_image_after_composite(self, p, finished, *arguments):
        """For each picture, as it will be saved."""
        follower.keep_picture(p, finished.image)

    def postprocess(self, p, processed, *arguments):
        """When all pictures are made."""
        follower.postprocess(p, processed)


def add_routes(demo, app):
    """With the host's API come LD-ZNet's routes, under the same credentials."""
    if shared.cmd_opts.api or shared.cmd_opts.nowebui:
        api.add_routes(app, find_host, shared.cmd_opts.api_auth)


page = tab.Tab()
script_callbacks.on_after_component(page.see)
script_callbacks.on_ui_tabs(page.build)
script_callbacks.on_infotext_pasted(panel.complete_infotext)
script_callbacks.on_app_started(add_routes)
script_callbacks.on_cfg_denoiser(follower.begin_step)
script_callbacks.on_script_unloaded(follower.forget)
