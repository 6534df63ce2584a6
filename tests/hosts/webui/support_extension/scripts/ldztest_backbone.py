"""What the extension's backbone computes inside this host, told over HTTP as tensors.

A request may first put the model into a state that generations put it into: with a share of its
tokens merged, or with its edges joined for tiling.
"""

import base64
import contextlib
import io
from typing import Any

import safetensors.torch
import torch
from modules import script_callbacks, shared
from PIL import Image


def computed(body: dict[str, Any]) -> dict[str, Any]:
    """Everything on the way from a picture and phrases to logits, with a noise of its own seed.

    Args:
        body: The ``picture``, the ``phrases``, ``t``; and maybe ``head`` (a name), and the states
            ``merged`` (a share of the tokens) and ``is_tiling``.
    """
    from ldznet_core import load_head
    from ldznet_webui.host import find_host

    host = find_host()
    picture = Image.open(io.BytesIO(base64.b64decode(body["picture"]))).convert("RGB")

    def work():
        backbone = host.backbone()
        with in_state(body):
            before = state()
            latents = backbone.encode_image(picture)
            context = backbone.encode_text(body["phrases"])
            features = backbone.probe(latents, body["phrases"], body["t"])
            after = state()
        tensors = {str(block): each for block, each in features.blocks.items()}
        tensors |= {"latents": latents, "context": context}
        if "head" in body:
            with torch.random.fork_rng(devices=[]), torch.inference_mode():
                head = load_head(body["head"]).eval()
                tensors["logits"] = head(latents, context, features)
        return {
            "tensors": packed(tensors),
            "before": before,
            "after": after,
        }

    return host.exclusively(work)


def attention(body: dict[str, Any]) -> dict[str, Any]:
    """What masks without a trained head read of a picture and phrases, and the same by the host.

    The host's own is its conditioning of the phrases, and a pass with that of no text.

    Args:
        body: The ``picture``, the ``phrases`` and ``t``.
    """
    from ldznet_core.training_free import TrainingFree
    from ldznet_webui.host import find_host

    host = find_host()
    picture = Image.open(io.BytesIO(base64.b64decode(body["picture"]))).convert("RGB")

    def work():
        from ldztest import by_itself

        backbone = host.backbone()
        before = state()
        latents = backbone.encode_image(picture)
        context = backbone.encode_text(body["phrases"])
        places_of = TrainingFree().for_family(backbone.family).taps_of
        features = backbone.probe(latents, [""], body["t"], taps_of=places_of)
        after = state()
        names = {place: tap.name for place, tap in places_of(backbone.unet).items()}
        ours = {names[place]: each for place, each in features.blocks.items()}
        theirs = by_itself.given(host.name, latents, list(ours), body["t"])
        return {
            "family": backbone.family,
            "counts": backbone.count_tokens(body["phrases"]),
            "ours": packed(ours | {"context": context}),
            "theirs": packed(theirs | {"context": by_itself.context(body["phrases"])}),
            "latents": packed({"latents": latents}),
            "before": before,
            "after": after,
        }

    return host.exclusively(work)


def packed(tensors):
    """Tensors by name, as JSON can carry them."""
    whole = {name: each.detach().float().cpu().contiguous() for name, each in tensors.items()}
    return base64.b64encode(safetensors.torch.save(whole)).decode()


@contextlib.contextmanager
def in_state(body):
    """Have the model in the state that the request names; A1111 knows such."""
    with contextlib.ExitStack() as stack:
        if "merged" in body:
            from modules import sd_models

            sd_models.apply_token_merging(shared.sd_model, body["merged"])
            stack.callback(sd_models.apply_token_merging, shared.sd_model, 0)
        if "is_tiling" in body:
            from modules import sd_hijack

            sd_hijack.model_hijack.apply_circular(body["is_tiling"])
            stack.callback(sd_hijack.model_hijack.apply_circular, False)
        yield


def state():
    """What a probe must leave as it was."""
    from ldztest.listening import unet
    from modules import sd_hijack

    network = unet()
    names = ("text_processing_engine", "text_processing_engine_l", "text_processing_engine_g")
    skipped = [getattr(getattr(shared.sd_model, name, None), "clip_skip", None) for name in names]
    return {
        "merged": getattr(shared.sd_model, "applied_token_merged_ratio", 0),
        "is_tiling": getattr(sd_hijack.model_hijack, "circular_enabled", False),
        "clip_skip": [shared.opts.CLIP_stop_at_last_layers, *skipped],
        "classes": sorted({type(module).__name__ for module in network.modules()}),
        "paddings": sorted({str(getattr(each, "padding_mode", "")) for each in network.modules()}),
        "weights": str(sum(each.double().sum().item() for each in network.parameters())),
        "own_methods": [n for n, each in network.named_modules() if "forward" in vars(each)],
        "randomness": int(torch.get_rng_state().long().sum()),
    }


def on_app_started(demo, app):
    app.add_api_route("/ldztest/backbone", computed, methods=["POST"])
    app.add_api_route("/ldztest/attention", attention, methods=["POST"])


script_callbacks.on_app_started(on_app_started)
