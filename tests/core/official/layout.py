"""The layout of the authors' checkpoint, key by key (koutilya-pnvr/LD-ZNet@3d28f76).

Written from a listing of their state dict, not from our classes: names, shapes and counts here are
what ours are held against. Sizes are given by the width of the first level and of the text.
"""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]

BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
"""Of 1000 numbers each, once for LD-ZNet and once for the frozen Stable Diffusion."""

STAGES = (
    # name, levels of what enters (its channels are their sum), level, transformer, resampling
    ("input_blocks.1", (0,), 0, True, None),
    ("input_blocks.2", (0,), 0, True, None),
    ("input_blocks.3", (0,), 0, False, "0.op"),
    ("input_blocks.4", (0,), 1, True, None),
    ("input_blocks.5", (1,), 1, True, None),
    ("input_blocks.6", (1,), 1, False, "0.op"),
    ("input_blocks.7", (1,), 2, True, None),
    ("input_blocks.8", (2,), 2, True, None),
    ("input_blocks.9", (2,), 2, False, "0.op"),
    ("input_blocks.10", (2,), 3, False, None),
    ("input_blocks.11", (3,), 3, False, None),
    ("middle_block", (3,), 3, True, None),
    ("output_blocks.0", (3, 3), 3, False, None),
    ("output_blocks.1", (3, 3), 3, False, None),
    ("output_blocks.2", (3, 2), 3, False, "1.conv"),
    ("output_blocks.3", (3, 2), 2, True, None),
    ("output_blocks.4", (2, 2), 2, True, None),
    ("output_blocks.5", (2, 1), 2, True, "2.conv"),
    ("output_blocks.6", (2, 1), 1, True, None),
    ("output_blocks.7", (1, 1), 1, True, None),
    ("output_blocks.8", (1, 0), 1, True, "2.conv"),
    ("output_blocks.9", (1, 0), 0, True, None),
    ("output_blocks.10", (0, 0), 0, True, None),
    ("output_blocks.11", (0, 0), 0, True, None),
)

READERS = {
    "input_blocks.8.1": 12,
    "middle_block.1": 6,
    "output_blocks.3.1": 12,
    "output_blocks.4.1": 12,
    "output_blocks.5.1": 12,
}
"""The transformers that read features, and the sides of their positional tables."""


def unet_shapes(
    width: int = 320,
    context: int = 768,
    *,
    is_head: bool,
    multiples: tuple[int, int, int, int] = (1, 2, 4, 4),
    table_scale: int = 1,
) -> Shapes:
    """Of Stable Diffusion's UNet (686 tensors), or of LD-ZNet (760).

    Args:
        width: Channels of the first level.
        context: Channels of the text features.
        is_head: Whether it is LD-ZNet.
        multiples: Channels of the levels, in widths.
        table_scale: What the sides of the positional tables are divided by.
    """
    channels = [times * width for times in multiples]
    shapes = {
        **_affine("time_embed.0", 4 * width, width),
        **_affine("time_embed.2", 4 * width, 4 * width),
        **_affine("input_blocks.0.0", width, 4, 3, 3),
    }
    for name, entering, level, has_transformer, resampling in STAGES:
        leaving = channels[level]
        if resampling != "0.op":
            into = sum(channels[each] for each in entering)
            shapes |= _res_block(f"{name}.0", into, leaving, 4 * width)
        if has_transformer:
            side = READERS.get(f"{name}.1", 0) // table_scale if is_head else 0
            shapes |= _transformer(f"{name}.1", leaving, context, side)
        if name == "middle_block":
            shapes |= _res_block("middle_block.2", leaving, leaving, 4 * width)
        if resampling:
            shapes |= _affine(f"{name}.{resampling}", leaving, leaving, 3, 3)
    shapes |= _affine("out.0", width) | _affine("out.2", 1 if is_head else 4, width, 3, 3)
    return shapes | (_final() if is_head else {})


def vae_shapes(width: int = 128) -> Shapes:
    """Of Stable Diffusion's VAE, 248 tensors."""
    channels = [width, 2 * width, 4 * width, 4 * width]
    shapes = _affine("encoder.conv_in", width, 3, 3, 3)
    entering = width
    for level, leaving in enumerate(channels):
        for block in range(2):
            shapes |= _vae_block(f"encoder.down.{level}.block.{block}", entering, leaving)
            entering = leaving
        if level < 3:
            name = f"encoder.down.{level}.downsample.conv"
            shapes |= _affine(name, leaving, leaving, 3, 3)
    shapes |= _vae_middle("encoder.mid", entering)
    shapes |= _affine("encoder.norm_out", entering) | _affine("encoder.conv_out", 8, entering, 3, 3)
    shapes |= _affine("decoder.conv_in", entering, 4, 3, 3) | _vae_middle("decoder.mid", entering)
    for level, leaving in reversed(list(enumerate(channels))):
        for block in range(3):
            shapes |= _vae_block(f"decoder.up.{level}.block.{block}", entering, leaving)
            entering = leaving
        if level:
            shapes |= _affine(f"decoder.up.{level}.upsample.conv", leaving, leaving, 3, 3)
    shapes |= _affine("decoder.norm_out", width) | _affine("decoder.conv_out", 3, width, 3, 3)
    return shapes | _affine("quant_conv", 8, 8, 1, 1) | _affine("post_quant_conv", 4, 4, 1, 1)


def text_shapes(width: int = 768, words: int = 49408) -> Shapes:
    """Of CLIP's text encoder, 197 with its table of positions, which holds integers."""
    shapes: Shapes = {
        "embeddings.position_ids": (1, 77),
        "embeddings.token_embedding.weight": (words, width),
        "embeddings.position_embedding.weight": (77, width),
    }
    for layer in range(12):
        name = f"encoder.layers.{layer}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= _affine(f"{name}.self_attn.{part}", width, width)
        shapes |= _affine(f"{name}.layer_norm1", width)
        shapes |= _affine(f"{name}.mlp.fc1", 4 * width, width)
        shapes |= _affine(f"{name}.mlp.fc2", width, 4 * width)
        shapes |= _affine(f"{name}.layer_norm2", width)
    return shapes | _affine("final_layer_norm", width)


def averaged_name(parameter: str) -> str:
    """What the moving average of a UNet's parameter is called, dots taken out."""
    return "model_ema." + ("diffusion_model." + parameter).replace(".", "")


def _affine(name: str, *weight: int) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _res_block(name: str, entering: int, leaving: int, embedding: int) -> Shapes:
    shapes = {
        **_affine(f"{name}.in_layers.0", entering),
        **_affine(f"{name}.in_layers.2", leaving, entering, 3, 3),
        **_affine(f"{name}.emb_layers.1", leaving, embedding),
        **_affine(f"{name}.out_layers.0", leaving),
        **_affine(f"{name}.out_layers.3", leaving, leaving, 3, 3),
    }
    if entering != leaving:
        shapes |= _affine(f"{name}.skip_connection", leaving, entering, 1, 1)
    return shapes


def _transformer(name: str, channels: int, context: int, table_side: int) -> Shapes:
    """A side of 0 makes it one of Stable Diffusion's own."""
    block = f"{name}.transformer_blocks.0"
    shapes = {
        **_affine(f"{name}.norm", channels),
        **_affine(f"{name}.proj_in", channels, channels, 1, 1),
        **_attention(f"{block}.attn1", channels, channels),
        **_affine(f"{block}.ff.net.0.proj", 8 * channels, channels),
        **_affine(f"{block}.ff.net.2", channels, 4 * channels),
        **_attention(f"{block}.attn2", channels, context),
        **_affine(f"{block}.norm1", channels),
        **_affine(f"{block}.norm2", channels),
        **_affine(f"{block}.norm3", channels),
        **_affine(f"{name}.proj_out", channels, channels, 1, 1),
    }
    if table_side:
        pool = f"{name}.attentionpool2D"
        shapes |= _attention(f"{block}.attn3", channels, channels)
        shapes |= _affine(f"{block}.norm_sd", channels)
        shapes[f"{pool}.positional_embedding"] = (channels, table_side**2 + 1)
        shapes |= _affine(f"{pool}.qkv_proj", 3 * channels, channels, 1)
        shapes |= _affine(f"{pool}.c_proj", channels, channels, 1)
    return shapes


def _attention(name: str, channels: int, answering: int) -> Shapes:
    return {
        f"{name}.to_q.weight": (channels, channels),
        f"{name}.to_k.weight": (channels, answering),
        f"{name}.to_v.weight": (channels, answering),
        **_affine(f"{name}.to_out.0", channels, channels),
    }


def _final() -> Shapes:
    shapes: Shapes = {}
    for index in (0, 4, 8, 12):
        shapes |= _affine(f"final.{index}", 1, 1, 3, 3)
    for index in (2, 6, 10):
        shapes |= _affine(f"final.{index}", 1, 1, 2, 2)
    return shapes


def _vae_block(name: str, entering: int, leaving: int) -> Shapes:
    shapes = {
        **_affine(f"{name}.norm1", entering),
        **_affine(f"{name}.conv1", leaving, entering, 3, 3),
        **_affine(f"{name}.norm2", leaving),
        **_affine(f"{name}.conv2", leaving, leaving, 3, 3),
    }
    if entering != leaving:
        shapes |= _affine(f"{name}.nin_shortcut", leaving, entering, 1, 1)
    return shapes


def _vae_middle(name: str, channels: int) -> Shapes:
    shapes = _vae_block(f"{name}.block_1", channels, channels)
    shapes |= _affine(f"{name}.attn_1.norm", channels)
    for part in ("q", "k", "v", "proj_out"):
        shapes |= _affine(f"{name}.attn_1.{part}", channels, channels, 1, 1)
    return shapes | _vae_block(f"{name}.block_2", channels, channels)
