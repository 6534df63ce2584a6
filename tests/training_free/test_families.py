"""True sizes: every family's UNet of diffusers gives what its table says, within its memory.

The sizes are those of the published `unet/config.json` of SD 1.5, SD 2.1 and SDXL. Shapes are taken
from passes without numbers (PyTorch's meta device); the slow tests make passes of random weights.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ldznet_core.capture import Features, capturing
from ldznet_core.segmenter import Segmenter
from ldznet_core.training_free import LAYERS, Place, TrainingFree, find_places

from .small import SDXL, SmallBackbone, count_hooks, noise, run

CONFIGS: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sd2": {
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
    "sdxl": SDXL
    | {
        "block_out_channels": [320, 640, 1280],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "transformer_layers_per_block": [1, 2, 10],
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
FAMILIES = tuple(CONFIGS)
PICTURES = [(512, 512), (768, 768), (1024, 1024), (480, 864)]
"""(height, width); the last has latents that are no multiples of 8."""

MEGABYTE = 1e6
LIMIT = 64 * MEGABYTE
"""What is kept of a picture of SDXL at 1024 px in half precision may not be more."""


@cache
def unet_of(family: str) -> nn.Module:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**CONFIGS[family])
    half: nn.Module = nn.Module.to(unet, torch.float16)
    return half.eval()


def captured(unet: nn.Module, family: str, latents: Tensor, context: Tensor) -> Features:
    """What a whole pass leaves, as in sampling."""
    with torch.no_grad(), capturing(unet, find_places(unet, LAYERS[family])) as capture:
        run(unet, latents, context)
    return capture.features(100, "probe")


def size_in_bytes(features: Features) -> int:
    return sum(each.numel() * each.element_size() for each in features.blocks.values())


@cache
def shapes_of(family: str, picture: tuple[int, int]) -> dict[Place, torch.Size]:
    """What the places of a true UNet would give, found out without a number computed."""
    unet, width = unet_of(family), CONFIGS[family]["cross_attention_dim"]
    with torch.device("meta"):
        latents = torch.empty(1, 4, picture[0] // 8, picture[1] // 8, dtype=torch.float16)
        context = torch.empty(1, 77, width, dtype=torch.float16)
    features = captured(unet, family, latents, context)
    assert count_hooks(unet) == 0
    return {place: each.shape for place, each in features.blocks.items()}


@pytest.mark.parametrize("picture", PICTURES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_place_gives_a_row_for_each_position(family: str, picture: tuple[int, int]) -> None:
    height, width = picture[0] // 8, picture[1] // 8
    links = (1, -(-height // 2) * -(-width // 2), 640)
    words = (1, -(-height // 4) * -(-width // 4), 1280)
    assert shapes_of(family, picture) == {
        **{Place(block, "words.query"): words for block in LAYERS[family].asking},
        **{Place(block, "links.query"): links for block in LAYERS[family].links},
        **{Place(block, "links.key"): links for block in LAYERS[family].links},
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("side", "most"), [(512, 16), (768, 32), (1024, 64)])
def test_what_is_kept_of_a_picture_has_a_bound(family: str, side: int, most: int) -> None:
    """In half precision, of one timestep."""
    kept = 2 * sum(shape.numel() for shape in shapes_of(family, (side, side)).values())
    print(f"{family} at {side} px: {kept / MEGABYTE:.1f} MB in float16")
    assert kept <= most * MEGABYTE <= LIMIT


@pytest.mark.parametrize("family", FAMILIES)
def test_the_keys_of_phrases_fit_the_queries_of_true_size(family: str) -> None:
    unet, layers = unet_of(family), LAYERS[family]
    for place in find_places(unet, layers):
        name = find_places(unet, layers)[place].name.rpartition(".")[0]
        attention: Any = unet.get_submodule(name)
        assert attention.to_q.out_features == attention.to_k.out_features
        assert attention.to_q.out_features % attention.heads == 0
        if place.part == "words.query":
            assert attention.to_k.in_features == CONFIGS[family]["cross_attention_dim"]


SQUARES = [(512, 512), (768, 768), (1024, 1024)]
OBLONGS = {"sd1": (768, 512), "sd2": (512, 768), "sdxl": (1152, 896)}
SIZES = [
    pytest.param(family, size, id=f"{family}-{size[0]}x{size[1]}")
    for family, oblong in OBLONGS.items()
    for size in sorted([*SQUARES, oblong])
]
"""(height, width); of UNets that compute."""

PHRASES = ["a cat", "the sky", "a red ball", "floor"]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "size"), SIZES)
def test_a_pass_of_true_size_becomes_masks(
    family: str, size: tuple[int, int], random_unets: dict[str, nn.Module]
) -> None:
    """Prints the CPU seconds of the pass and of what makes masks of it."""
    backbone = RandomWords(family, random_unet(family, random_unets))
    latents = noise(1, 4, size[0] // 8, size[1] // 8)
    begin = time.process_time()
    features = captured(
        backbone.unet, family, latents.bfloat16(), backbone.encode_text([""]).bfloat16()
    )
    passed = time.process_time()
    segmenter = Segmenter(backbone, TrainingFree(), phrases_per_pass=len(PHRASES))
    answer = segmenter.segment_features(latents, features, PHRASES)
    read = time.process_time()
    assert answer.logits.shape == answer.masks.shape == (len(PHRASES), *size)
    assert answer.logits.isfinite().all()
    assert answer.logits.flatten(1).std(dim=1).min() > 0
    assert ((answer.masks == 0) | (answer.masks == 1)).all()
    kept = size_in_bytes(features)
    assert kept <= LIMIT
    assert count_hooks(backbone.unet) == 0
    print(
        f"\n{family} at {size[0]}x{size[1]} px: {kept / MEGABYTE:.1f} MB kept, "
        f"{passed - begin:.1f} s for the pass, {read - passed:.2f} s for {len(PHRASES)} phrases"
    )


class RandomWords(SmallBackbone):
    """A UNet of true size, and a random vector for every word."""

    def __init__(self, family: str, unet: nn.Module) -> None:
        self.family, self.unet = family, unet
        self.width = CONFIGS[family]["cross_attention_dim"]

    def _embedded(self, phrase: str) -> Tensor:
        words = phrase.split()
        rows = ["<start>", *words, *["<end>"] * (76 - len(words))]
        return torch.cat([noise(1, self.width, seed=sum(map(ord, row))) for row in rows])


@pytest.fixture(scope="module")
def random_unets() -> dict[str, nn.Module]:
    """At most one UNet of true size, by its family, in memory until the module is done."""
    return {}


def random_unet(family: str, kept: dict[str, nn.Module]) -> nn.Module:
    """A UNet of true size with random weights in bfloat16: 1.7 GB, or 5.1 GB of SDXL."""
    if family not in kept:
        kept.clear()
        with torch.device("meta"):
            unet = nn.Module.to(UNet2DConditionModel(**CONFIGS[family]), torch.bfloat16)
        kept[family] = unet.to_empty(device="cpu").eval()
        drawn = noise(1 << 22)
        for name, parameter in unet.named_parameters():
            times = -(-parameter.numel() // len(drawn))
            values = drawn.repeat(times)[: parameter.numel()].reshape(parameter.shape)
            if parameter.ndim > 1:
                parameter.data.copy_(values / parameter[0].numel() ** 0.5)
            else:
                parameter.data.copy_(0.1 * values + (0 if name.endswith("bias") else 1))
    return kept[family]
