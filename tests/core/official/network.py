"""The authors' network in plain arithmetic, slow and literal, to hold ours against.

Written from a description of koutilya-pnvr/LD-ZNet@3d28f76, with no layer of ours or of theirs:
matrix products, sums and loops over a state dict. It computes in the dtype that it is given, so
that float64 is as good as exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .layout import READERS, STAGES

Weights = Mapping[str, Tensor]
Transform = Callable[[str, Tensor], Tensor]

HEADS = 8


def logits_of(
    weights: Weights, latents: Tensor, context: Tensor, features: Sequence[Tensor]
) -> Tensor:
    """LD-ZNet's ``(B, 1, 8h, 8w)`` logits of clean latents, whose sides are multiples of 8.

    Args:
        weights: Its state dict.
        latents: ``(B, 4, h, w)``.
        context: ``(B, T, D)``.
        features: The 16 that `features_of` gives, of which 5 to 9 are read.
    """
    remaining = list(features)

    def transform(name: str, x: Tensor) -> Tensor:
        feature = remaining.pop(0)
        if name in READERS:
            return transformer(weights, name, x, context, pool(weights, name, feature))
        return transformer(weights, name, x, context)

    x = silu(walk(weights, latents, 0, transform))
    for index in range(0, 13, 2):
        name = f"final.{index}"
        x = doubled(weights, name, x) if index in (2, 6, 10) else convolved(weights, name, x)
        x = silu(x) if index < 12 else x
    return x


def features_of(weights: Weights, noisy: Tensor, timestep: int, context: Tensor) -> list[Tensor]:
    """What Stable Diffusion's 16 transformers give, in the order of a pass."""
    features: list[Tensor] = []

    def transform(name: str, x: Tensor) -> Tensor:
        features.append(transformer(weights, name, x, context))
        return features[-1]

    walk(weights, noisy, timestep, transform)
    return features


def walk(weights: Weights, x: Tensor, timestep: int, transform: Transform) -> Tensor:
    """Through the UNet, from latents to ``out``."""
    embedding = embedded(weights, timestep, x)
    x = convolved(weights, "input_blocks.0.0", x)
    skips = [x]
    for name, _, _, has_transformer, resampling in STAGES:
        if name.startswith("output"):
            x = torch.cat([x, skips.pop()], dim=1)
        if resampling == "0.op":
            x = convolved(weights, f"{name}.0.op", x, stride=2)
        else:
            x = res_block(weights, f"{name}.0", x, embedding)
        if has_transformer:
            x = transform(f"{name}.1", x)
        if name == "middle_block":
            x = res_block(weights, "middle_block.2", x, embedding)
        if resampling and name.startswith("output"):
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = convolved(weights, f"{name}.{resampling}", x)
        if name.startswith("input"):
            skips.append(x)
    return convolved(weights, "out.2", silu(grouped(weights, "out.0", x, 1e-5)))


def embedded(weights: Weights, timestep: int, like: Tensor) -> Tensor:
    """The timestep's cosines and then its sines, through two layers; ``(1, E)``."""
    half = weights["time_embed.0.weight"].shape[1] // 2
    angles = [timestep * 10000.0 ** (-index / half) for index in range(half)]
    waves = [*map(math.cos, angles), *map(math.sin, angles)]
    x = torch.tensor([waves], dtype=like.dtype, device=like.device)
    return linear(weights, "time_embed.2", silu(linear(weights, "time_embed.0", x)))


def res_block(weights: Weights, name: str, x: Tensor, embedding: Tensor) -> Tensor:
    inner = convolved(
        weights, f"{name}.in_layers.2", silu(grouped(weights, f"{name}.in_layers.0", x, 1e-5))
    )
    inner = inner + linear(weights, f"{name}.emb_layers.1", silu(embedding))[:, :, None, None]
    inner = silu(grouped(weights, f"{name}.out_layers.0", inner, 1e-5))
    inner = convolved(weights, f"{name}.out_layers.3", inner)
    skip = f"{name}.skip_connection"
    return inner + (convolved(weights, skip, x) if f"{skip}.weight" in weights else x)


def transformer(
    weights: Weights, name: str, x: Tensor, context: Tensor, feature_tokens: Tensor | None = None
) -> Tensor:
    """A spatial transformer; with tokens of features, one of LD-ZNet's own."""
    _, _, height, width = x.shape
    block = f"{name}.transformer_blocks.0"
    tokens = convolved(weights, f"{name}.proj_in", grouped(weights, f"{name}.norm", x, 1e-6))
    tokens = torch.einsum("bcyx->byxc", tokens).flatten(1, 2)
    asking = layered(weights, f"{block}.norm1", tokens)
    tokens = attention(weights, f"{block}.attn1", asking, asking) + tokens
    asking = layered(weights, f"{block}.norm2", tokens)
    tokens = attention(weights, f"{block}.attn2", asking, context) + tokens
    if feature_tokens is not None:
        asking = layered(weights, f"{block}.norm_sd", tokens)
        tokens = attention(weights, f"{block}.attn3", asking, feature_tokens) + tokens
    wide = linear(weights, f"{block}.ff.net.0.proj", layered(weights, f"{block}.norm3", tokens))
    values, gate = wide[..., : wide.shape[-1] // 2], wide[..., wide.shape[-1] // 2 :]
    gate = gate * (1 + torch.erf(gate / math.sqrt(2))) / 2  # the exact GELU
    tokens = linear(weights, f"{block}.ff.net.2", values * gate) + tokens
    back = torch.einsum("byxc->bcyx", tokens.unflatten(1, (height, width)))
    return convolved(weights, f"{name}.proj_out", back) + x


def attention(weights: Weights, name: str, asking: Tensor, answering: Tensor) -> Tensor:
    query, key, value = (
        linear(weights, f"{name}.to_{part}", tokens).unflatten(-1, (HEADS, -1))
        for part, tokens in (("q", asking), ("k", answering), ("v", answering))
    )  # (B, N, heads, C / heads)
    scores = torch.einsum("bnhc,bmhc->bhnm", query, key) * query.shape[-1] ** -0.5
    mixed = torch.einsum("bhnm,bmhc->bnhc", softened(scores), value)
    return linear(weights, f"{name}.to_out.0", mixed.flatten(2))


def pool(weights: Weights, name: str, feature: Tensor) -> Tensor:
    """``(B, C, h, w)`` features to ``(B, 1 + hw, C)`` tokens, that of the mean first."""
    name = f"{name}.attentionpool2D"
    _, channels, height, width = feature.shape
    flat = feature.flatten(2)
    tokens = torch.cat([flat.sum(dim=2, keepdim=True) / flat.shape[2], flat], dim=2)
    tokens = tokens + positions(weights[f"{name}.positional_embedding"], height, width)
    weight, bias = weights[f"{name}.qkv_proj.weight"][..., 0], weights[f"{name}.qkv_proj.bias"]
    together = torch.einsum("oc,bcn->bon", weight, tokens) + bias[:, None]
    query, key, value = (
        together[:, third * channels : (third + 1) * channels].unflatten(1, (HEADS, -1))
        for third in range(3)
    )  # (B, heads, C / heads, N)
    scale = (channels // HEADS) ** -0.25
    scores = torch.einsum("bhcn,bhcm->bhnm", query * scale, key * scale)
    mixed = torch.einsum("bhnm,bhcm->bhcn", softened(scores), value).flatten(1, 2)
    weight, bias = weights[f"{name}.c_proj.weight"][..., 0], weights[f"{name}.c_proj.bias"]
    return torch.einsum("oc,bcn->bno", weight, mixed) + bias


def positions(table: Tensor, height: int, width: int) -> Tensor:
    """The ``(C, 1 + SS)`` table for a map: as it is wherever the number of its columns fits."""
    if table.shape[1] == height * width + 1:
        return table
    side = math.isqrt(table.shape[1] - 1)
    grid = table[:, 1:].unflatten(1, (side, side))
    down, across = (bicubic(side, length).to(table) for length in (height, width))
    resized = torch.einsum("yj,xi,cji->cyx", down, across, grid)
    return torch.cat([table[:, :1], resized.flatten(1)], dim=1)


def bicubic(given: int, wanted: int) -> Tensor:
    """The ``(wanted, given)`` matrix that resizes a line by Keys' cubic with a = -0.75.

    Corners are not aligned, and places outside are those at the edge.
    """
    matrix = torch.zeros(wanted, given, dtype=torch.float64)
    for row in range(wanted):
        place = (row + 0.5) * given / wanted - 0.5
        for step in range(-1, 3):
            column = math.floor(place) + step
            distance = abs(place - column)
            if distance <= 1:
                share = (1.25 * distance - 2.25) * distance**2 + 1
            else:
                share = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
            matrix[row, min(max(column, 0), given - 1)] += share
    return matrix


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    product = torch.einsum("...i,oi->...o", x, weights[f"{name}.weight"])
    bias = weights.get(f"{name}.bias")
    return product if bias is None else product + bias


def convolved(weights: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """A convolution with an odd kernel and zeros around, tap by tap."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    size = weight.shape[-1]
    batch, channels, height, width = x.shape
    padded = x.new_zeros(batch, channels, height + size - 1, width + size - 1)
    padded[:, :, size // 2 : size // 2 + height, size // 2 : size // 2 + width] = x
    total: Tensor | None = None
    for down in range(size):
        for across in range(size):
            seen = padded[:, :, down : down + height : stride, across : across + width : stride]
            part = torch.einsum("oi,biyx->boyx", weight[:, :, down, across], seen)
            total = part if total is None else total + part
    assert total is not None
    return total + bias[:, None, None]


def doubled(weights: Weights, name: str, x: Tensor) -> Tensor:
    """A transposed convolution of stride 2 with a 2x2 kernel: each place becomes a square."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    batch, _, height, width = x.shape
    squares = torch.einsum("biyx,iodu->boydxu", x, weight)
    return squares.reshape(batch, weight.shape[1], 2 * height, 2 * width) + bias[:, None, None]


def grouped(weights: Weights, name: str, x: Tensor, epsilon: float) -> Tensor:
    """Group norm in 32 groups."""
    groups = x.unflatten(1, (32, -1))
    normal = standardised(groups, (2, 3, 4), epsilon).flatten(1, 2)
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return normal * weight[:, None, None] + bias[:, None, None]


def layered(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Layer norm."""
    return standardised(x, (-1,), 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def standardised(x: Tensor, dims: tuple[int, ...], epsilon: float) -> Tensor:
    centred = x - x.mean(dim=dims, keepdim=True)
    return centred / (centred.square().mean(dim=dims, keepdim=True) + epsilon).sqrt()


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def softened(scores: Tensor) -> Tensor:
    raised = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    return raised / raised.sum(dim=-1, keepdim=True)
