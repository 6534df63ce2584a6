"""Measures, inside a real ComfyUI, what capture adds to sampling; `bench_capture` starts it.

Usage: capture_cost.py HOST PROJECT MODEL LISTENS SIDE STEPS PAIRS, where LISTENS is `features` or
`attention`, which comes on top of the features. Prints one line of JSON at the end.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

from true_models import random_model

CFG = 5.0


def main() -> None:
    """Time pairs of runs, one with and one without capture, each pair in the other order."""
    host, project, model_name, listens, *numbers = sys.argv[1:]
    side, steps, pairs = map(int, numbers)
    start_host(host)
    load_pack(Path(project))
    import torch

    with torch.inference_mode():
        print(json.dumps(measure(model_name, listens, side, steps, pairs)))


def start_host(host: str) -> None:
    """Make ComfyUI's modules importable, for a CPU."""
    sys.path.insert(0, host)
    sys.argv = ["main.py", "--cpu", "--use-pytorch-cross-attention"]
    import comfy.options

    comfy.options.enable_args_parsing()


def load_pack(project: Path) -> None:
    """Import the project as ComfyUI does: a folder, as a package."""
    spec = importlib.util.spec_from_file_location(
        "ldznet_pack", project / "__init__.py", submodule_search_locations=[str(project)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


def measure(model_name: str, listens: str, side: int, steps: int, pairs: int) -> dict[str, Any]:
    """Return the CPU seconds of each run, and whether all latents were the same."""
    import torch
    from ldznet_pack.ldznet_core.capture import Missing
    from ldznet_pack.nodes.bank import BANK
    from ldznet_pack.nodes.capture import LDZNetCapture

    is_small = model_name == "miniature"
    model = miniature() if is_small else random_model("sd1", torch.float32)
    width = model.model.model_config.unet_config["context_dim"]
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randn(1, 77, width, generator=generator) for _ in range(2)]
    captured = LDZNetCapture.execute(model, attention=listens == "attention").result[0]
    sample(captured, prompts, side, steps)  # the first run makes room and picks algorithms
    seconds: dict[str, list[float]] = {"plain": [], "capture": []}
    latents = []
    for pair in range(pairs):
        runs = [("plain", model), ("capture", captured)]
        for kind, patched in runs if pair % 2 else reversed(runs):
            began = time.process_time()
            latents.append(sample(patched, prompts, side, steps))
            seconds[kind].append(time.process_time() - began)
    found = BANK.get(latents[0])
    return {
        **seconds,
        "identical": all(torch.equal(latents[0], each) for each in latents),
        "timestep": None if isinstance(found, Missing) else found.timestep,
        "bytes": BANK.used_bytes,
    }


def sample(model: Any, prompts: Any, side: int, steps: int) -> Any:
    """Sample one picture by ComfyUI's own k-sampler."""
    import comfy.sample
    import torch

    latent = torch.zeros(1, 4, side // 8, side // 8)
    noise = comfy.sample.prepare_noise(latent, 0)
    positive, negative = ([[prompt, {}]] for prompt in prompts)
    return comfy.sample.sample(
        model, noise, steps, CFG, "euler", "normal", positive, negative, latent, disable_pbar=True
    )


def miniature() -> Any:
    """Load the miniature's UNet."""
    from ldznet_pack.nodes.miniature import load_model

    return load_model()


if __name__ == "__main__":
    main()
