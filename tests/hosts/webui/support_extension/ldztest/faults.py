"""Things that go wrong, or get in between, on purpose."""

from __future__ import annotations

from typing import Any

from modules import processing, shared
from torch import nn

FAILURE = "failed on purpose"


def fail_in_pass(unet: nn.Module, at_pass: int) -> None:
    """Have the UNet fail once, in the middle of a pass; all other passes are as ever."""
    passes = 0

    def fail(module: nn.Module, inputs: object) -> None:
        nonlocal passes
        passes += 1
        if passes == at_pass:
            hook.remove()
            raise RuntimeError(FAILURE)

    hook = unet.get_submodule("output_blocks.4").register_forward_pre_hook(fail)


def interrupt() -> None:
    """Do what the button "Interrupt" does."""
    shared.state.interrupt()


def paint_again(p: Any, image: Any) -> Any:
    """Run img2img on a finished picture inside the outer run, as scripts for details do.

    Every script of the outer run is in the inner one too, with the same arguments.
    """
    inner = processing.StableDiffusionProcessingImg2Img(
        init_images=[image.resize((64, 64))],
        denoising_strength=0.75,
        sd_model=p.sd_model,
        outpath_samples=p.outpath_samples,
        outpath_grids=p.outpath_grids,
        prompt="a green frog",
        negative_prompt="",
        seed=11,
        sampler_name=p.sampler_name,
        steps=6,
        width=64,
        height=64,
        cfg_scale=p.cfg_scale,
        do_not_save_samples=True,
        do_not_save_grid=True,
    )
    inner.is_api = True  # else the panel's own seed would take the place of ours
    inner.scripts, inner.script_args = p.scripts, p.script_args
    inner.cached_c, inner.cached_uc = [None, None], [None, None]
    inner.ldztest_is_inner = True
    try:
        return processing.process_images(inner).images[0]
    finally:
        inner.close()
