"""A generation as A1111 makes one, with the miniature's real UNet and none of the host around it.

It calls back in the order that was seen in a running A1111 1.10.1: process, then for each batch
process_before_every_sampling, on_cfg_denoiser and a pass for each step, post_sample,
postprocess_image_after_composite for each picture; and postprocess at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ldznet_core import Backbone
from ldznet_webui.passes import RowsOf, rows_in_order
from ldznet_webui.script import Follower

from .miniature_host import MiniatureHost

SCHEDULE = (900.0, 421.0, 316.0, 20.0)
"""Timesteps; two lie in the window."""

SIZE = (16, 16)
"""Of the latents."""


class GeneratingHost(MiniatureHost):
    """Stands in for A1111 while it generates: whoever is called back holds the models already."""

    def __init__(self, backbone: Any, heads: Path) -> None:
        super().__init__(backbone, heads)
        self.was_interrupted = False

    def backbone(self) -> Backbone:
        self._lock.acquire()
        try:
            return super().backbone()
        finally:
            self._lock.release()

    def prompts_of(self, step: Any) -> RowsOf:
        return partial(rows_in_order, prompts=step.prompts)

    def is_interrupted(self) -> bool:
        return self.was_interrupted


class Scripts:
    """Stands in for the ScriptRunner: the scripts that can be chosen under "Script"."""

    def __init__(self, titles: Sequence[str]) -> None:
        self.selectable_scripts = [SimpleNamespace(title=partial(str, each)) for each in titles]


@dataclass
class Processing:
    """Stands in for StableDiffusionProcessing (modules/processing.py in 1.10.1)."""

    batch_size: int = 1
    n_iter: int = 1
    init_images: list[Image.Image] = field(default_factory=list)
    image_mask: Image.Image | None = None
    inpaint_full_res: bool = True
    inpainting_mask_invert: int = 0
    paste_to: tuple[int, int, int, int] | None = None
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, int] = field(default_factory=dict)
    iteration: int = 0
    batch_index: int = 0
    closed: int = 0
    script_args: tuple[Any, ...] = (0,)
    scripts: Scripts | None = None

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def close(self) -> None:
        self.closed += 1


@dataclass
class Processed:
    """Stands in for the host's results."""

    images: list[Image.Image]
    infotexts: list[str]
    comments: str = ""
    index_of_first_image: int = 0


@dataclass
class Sampler:
    """How the batches are sampled."""

    unet: nn.Module
    context: Tensor
    """``(1, T, D)`` of the prompt."""
    schedule: Sequence[float] = SCHEDULE
    on_step: Callable[[int], None] = lambda _: None

    def sample(self, p: Processing, follower: Follower, latents: Tensor) -> Tensor:
        """Some passes over latents ``(B, C, h, w)``, prompts first; they stay as they are."""
        follower.begin_sampling(p, latents)
        for number, timestep in enumerate(self.schedule):
            self.on_step(number)
            step = SimpleNamespace(denoiser=SimpleNamespace(p=p), prompts=[1] * len(latents))
            follower.begin_step(step)
            rows = torch.cat([latents, latents])
            empty = torch.zeros_like(self.context)
            context = torch.cat([self.context.expand(len(latents), -1, -1)] * 2)
            context[len(latents) :] = empty
            self.unet(rows, torch.full((len(rows),), timestep), context)
        return latents


@torch.no_grad()
def generate(
    p: Processing,
    follower: Follower,
    sampler: Sampler,
    pictures: Sequence[tuple[Tensor, Image.Image]],
    arguments: Sequence[Any],
) -> Processed:
    """The pictures, which are there already, as if the host painted them.

    Args:
        p: What is asked of the host.
        follower: Is called back.
        sampler: Makes the passes.
        pictures: Latents ``(1, C, h, w)`` and the picture they decode to, batch after batch.
        arguments: Of the script.
    """
    with closing(p):
        return process_images(p, follower, sampler, pictures, arguments)


@torch.no_grad()
def process_images(
    p: Processing,
    follower: Follower,
    sampler: Sampler,
    pictures: Sequence[tuple[Tensor, Image.Image]],
    arguments: Sequence[Any],
) -> Processed:
    """The same without closing `p`, as scripts call the host with copies of theirs."""
    images: list[Image.Image] = []
    follower.process(p, arguments)
    for iteration in range(p.n_iter):
        p.iteration = iteration
        batch = pictures[p.iteration * p.batch_size :][: p.batch_size]
        latents = sampler.sample(p, follower, torch.cat([each for each, _ in batch]))
        follower.end_sampling(p, latents)
        for index, (_, picture) in enumerate(batch):
            p.batch_index = index
            follower.keep_picture(p, picture)
            images.append(picture)
    processed = Processed(images, [f"picture {number}" for number in range(len(images))])
    follower.postprocess(p, processed)
    return processed


def hooks_on(network: nn.Module) -> int:
    """How many hooks a network and its parts have."""
    return sum(map(hooks_at, network.modules()))


def hooks_at(module: nn.Module) -> int:
    """How many hooks a module has, its parts not counted."""
    return len(module._forward_hooks) + len(module._forward_pre_hooks)
