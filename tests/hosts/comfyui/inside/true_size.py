"""Takes a UNet of true size, of ComfyUI's own classes, the whole way without a trained head.

Usage: true_size.py HOST PROJECT FAMILY HEIGHT WIDTH. Weights and text features are random, in
bfloat16. Prints one line of JSON at the end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from capture_cost import load_pack, start_host
from true_models import random_model

PHRASES = ["a cat", "the sky", "a red ball", "floor"]

Given = TypeVar("Given")


def main() -> None:
    """Sample a step, read it, probe, and read that."""
    host, project, family, *size = sys.argv[1:]
    start_host(host)
    load_pack(Path(project))
    import torch

    with torch.inference_mode():
        print(json.dumps(whole_way(family, int(size[0]), int(size[1]))))


def whole_way(family: str, height: int, width: int) -> dict[str, Any]:
    """What the test looks at, and what things cost in CPU seconds and GB of memory."""
    import torch
    from ldznet_pack.ldznet_core import Segmenter
    from ldznet_pack.ldznet_core.capture import LATE
    from ldznet_pack.ldznet_core.training_free import TrainingFree
    from ldznet_pack.nodes.bank import BANK
    from ldznet_pack.nodes.capture import LDZNetCapture

    model = random_model(family, torch.bfloat16)
    backbone = random_words(model)
    head = TrainingFree().for_family(family)
    segmenter = Segmenter(backbone, TrainingFree(), phrases_per_pass=len(PHRASES))
    listened = LDZNetCapture.execute(model, attention=True).result[0]
    prompt = backbone.conditioning("a cat")
    latents, pass_seconds = timed(lambda: one_step(listened, prompt, height, width))
    scaled = backbone.scaled(latents)
    heard = attention_in(BANK.get(latents, LATE))
    pass_gb = peak_gb()
    read, head_seconds = timed(lambda: segmenter.segment_features(scaled, heard, PHRASES))
    taps_of = {"taps_of": head.taps_of}
    seen, probe_seconds = timed(lambda: backbone.probe(scaled, [""], t=100.0, **taps_of))
    probed = segmenter.segment_features(scaled, seen, PHRASES)
    return {
        "places": len(heard.blocks),
        "timesteps": [read.timestep, probed.timestep],
        "kept_mb": sum(each.numel() for each in heard.blocks.values()) * 2 / 1e6,  # of float16
        "answers": [looked_at(read), looked_at(probed)],
        "hooks": sum(len(each._forward_hooks) for each in model.model.diffusion_model.modules()),
        "seconds": {"pass": pass_seconds, "probe": probe_seconds, "head": head_seconds},
        "gb": {"weights": weights_gb(model), "pass": pass_gb, "whole": peak_gb()},
    }


def one_step(model: Any, prompt: Any, height: int, width: int) -> Any:
    """ComfyUI's own sampler, from t = 100 to the end in one step without guidance."""
    import comfy.samplers
    import torch

    latent = torch.zeros(1, 4, height // 8, width // 8)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    sigma = model.get_model_object("model_sampling").sigma(torch.tensor([100.0]))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(prompt, [])
    guider.set_cfg(1.0)
    euler = comfy.samplers.sampler_object("euler")
    sigmas = torch.cat([sigma, torch.zeros(1)])
    return guider.sample(noise, latent, euler, sigmas, disable_pbar=True)


def attention_in(kept: Any) -> Any:
    """What was captured, without what trained heads read."""
    from ldznet_pack.ldznet_core import Features
    from ldznet_pack.ldznet_core.training_free import Place

    places = {key: each for key, each in kept.blocks.items() if isinstance(key, Place)}
    return Features(places, kept.timestep, kept.source)


def random_words(model: Any) -> Any:
    """The pack's own backbone around a model, with a random vector for every word."""
    import torch
    from ldznet_pack.nodes.backbone import ComfyBackbone

    width = model.model.model_config.unet_config["context_dim"]
    pooled = torch.zeros(1, 1280)  # what SDXL is told of a phrase as a whole

    def vector(word: str) -> Any:
        return torch.randn(1, width, generator=torch.Generator().manual_seed(sum(map(ord, word))))

    class RandomWords(ComfyBackbone):  # type: ignore[misc]  # the pack is loaded when this runs
        def conditioning(self, phrase: str) -> Any:
            text = self._encode(phrase)
            return [[text.context, {"pooled_output": text.pooled}]]

        def _encode(self, phrase: str) -> Any:
            words = phrase.split()
            tokens = ["<start>", *words, *["<end>"] * (76 - len(words))]
            context = torch.cat([vector(token) for token in tokens])[None]
            return SimpleNamespace(context=context, pooled=pooled, tokens=len(words) + 2)

    encoder = SimpleNamespace(clip_layer=lambda layer: None)
    return RandomWords(model, SimpleNamespace(clone=lambda: encoder))


def looked_at(answer: Any) -> dict[str, Any]:
    """The shape of what was said of the phrases, and whether it says anything."""
    return {
        "logits": list(answer.logits.shape),
        "masks": list(answer.masks.shape),
        "is_finite": bool(answer.logits.isfinite().all() and answer.masks.isfinite().all()),
        "varies": float(answer.logits.flatten(1).std(dim=1).min()) > 0,
    }


def timed(call: Callable[[], Given]) -> tuple[Given, float]:
    """What a call gives, and its CPU seconds."""
    began = time.process_time()
    given = call()
    return given, time.process_time() - began


def weights_gb(model: Any) -> float:
    """What the UNet's weights take."""
    weights = model.model.diffusion_model.parameters()
    return sum(weight.numel() * weight.element_size() for weight in weights) / 1e9


def peak_gb() -> float:
    """The most memory that this process has held so far; not a number on Windows."""
    if sys.platform == "win32":
        return float("nan")
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held * (1 if sys.platform == "darwin" else 1024) / 1e9


if __name__ == "__main__":
    main()
