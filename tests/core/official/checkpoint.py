"""A checkpoint in the authors' layout, of any size, with random weights, as trainers save it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from .layout import BUFFERS, Shapes, averaged_name, text_shapes, unet_shapes, vae_shapes

SMALL = {"context": 8, "multiples": (1, 2, 1, 1), "table_scale": 3}
"""The smallest sizes with all tensors, for what does not depend on them: 4 MB in half precision."""

GROUPS = ("schedule", "raw", "ema", "vae", "text", "frozen")
"""What a checkpoint may hold."""


def official_state(
    width: int = 32,
    context: int = 64,
    *,
    multiples: tuple[int, int, int, int] = (1, 2, 4, 4),
    table_scale: int = 1,
    groups: Collection[str] = GROUPS,
    text_prefix: str = "text_model.",
    has_position_ids: bool = True,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The state dict, with weights that keep activations near 1 and are never zero.

    Args:
        width: Channels of the UNets' first level.
        context: Channels of the text features.
        multiples: Channels of the levels, in widths; those of levels 0, 1 and 2 differ by turns.
        table_scale: What the sides of the positional tables are divided by.
        groups: Those to hold, of `GROUPS`.
        text_prefix: What CLIP's keys begin with: transformers 4 writes ``text_model.``, 5 nothing.
        has_position_ids: Whether CLIP's table of positions is there.
        seed: Of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    head = unet_shapes(width, context, is_head=True, multiples=multiples, table_scale=table_scale)
    if "schedule" in groups:
        state |= _schedule("")
    if "raw" in groups:
        state |= random_weights(head, generator, "model.diffusion_model.")
    if "ema" in groups:
        state["model_ema.decay"] = torch.tensor(0.9999)
        state["model_ema.num_updates"] = torch.tensor(12345, dtype=torch.int32)
        averages = random_weights(head, generator)
        state |= {averaged_name(name): tensor for name, tensor in averages.items()}
    if "vae" in groups:
        state |= random_weights(vae_shapes(8), generator, "first_stage_model.")
    if "text" in groups:
        prefix = f"cond_stage_model.transformer.{text_prefix}"
        shapes = text_shapes(context, words=64)
        state[f"{prefix}embeddings.position_ids"] = torch.arange(77)[None]
        del shapes["embeddings.position_ids"]
        state |= random_weights(shapes, generator, prefix)
        if not has_position_ids:
            del state[f"{prefix}embeddings.position_ids"]
    if "frozen" in groups:
        state |= _schedule("sd_features_stage_model.model.")
        frozen = unet_shapes(width, context, is_head=False, multiples=multiples)
        prefix = "sd_features_stage_model.model.model.diffusion_model."
        state |= random_weights(frozen, generator, prefix)
    return state


def random_weights(
    shapes: Shapes, generator: torch.Generator, prefix: str = ""
) -> dict[str, Tensor]:
    """Tensors of these shapes: matrices by their fan-in, biases near 0, scales of norms near 1."""
    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if name.startswith("final."):  # a decoder that lets its single channel through
            state[prefix + name] = (noise.abs() + 0.5) / (9 if shape[-1] == 3 else 1)
        elif len(shape) == 1:
            state[prefix + name] = 0.1 * noise + (0 if name.endswith("bias") else 1)
        else:
            state[prefix + name] = noise / math.prod(shape[1:]) ** 0.5
    return state


def save_checkpoint(state: dict[str, Tensor], path: Path) -> Path:
    """Write it as Lightning 1.9 does, with a trainer's state around it."""
    content = {
        "epoch": 7,
        "global_step": 65432,
        "pytorch-lightning_version": "1.9.4",
        "state_dict": OrderedDict(state),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 8}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val/loss'}": {"best_model_score": 0.25}},
        "optimizer_states": [
            {
                "state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(2, 3)}},
                "param_groups": [{"lr": 5e-7, "betas": (0.9, 0.999), "params": [0]}],
            }
        ],
        "lr_schedulers": [{"factor": 0.5, "patience": 1, "best": float("inf")}],
    }
    torch.save(content, path)
    return path


def _schedule(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: torch.linspace(0, 1, 1000) for name in BUFFERS}
