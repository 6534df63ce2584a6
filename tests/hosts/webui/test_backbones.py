"""The networks of real hosts, seen through the extension, against the library's own.

Both read the same weights, the one through the host's classes on the host's torch, the other
through the library's on this Python's.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from ldznet_core import Backbone, load_backbone, load_head

from .client import Client, encoded
from .conftest import Start
from .hosts import NO_HOST, PROJECT, find_host
from .rig import Server

PHRASES = ("owl", "a red car in a meadow")
BLOCKS = ("6", "7", "8", "9", "10")
SAME = 1e-5
"""Of the norm: what two implementations in float32 may differ by; measured are 1e-6 at most."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What a backbone gave for a picture and phrases, by name, and the state it left."""

    tensors: dict[str, Tensor]
    before: dict[str, Any]
    after: dict[str, Any]

    def is_same_bits(self, other: Computed) -> bool:
        names = self.tensors.keys()
        same = all(torch.equal(self.tensors[name], other.tensors[name]) for name in names)
        return names == other.tensors.keys() and same


def drawn(width: int = 128, height: int = 128) -> Image.Image:
    """A red disc on a slope of greens, with no line parallel to the edges of latents."""
    across, down = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    picture = Image.merge("RGB", (across, down, across)).resize((width, height))
    box = (width * 0.2, height * 0.3, width * 0.6, height * 0.8)
    ImageDraw.Draw(picture).ellipse(box, fill=(220, 30, 40))
    return picture


def by_host(
    client: Client,
    picture: Image.Image,
    phrases: tuple[str, ...] = PHRASES,
    t: float = 400,
    **more: Any,
) -> Computed:
    body = {"picture": encoded(picture), "phrases": phrases, "t": t, **more}
    answer = client.call("/ldztest/backbone", body)
    tensors = safetensors.torch.load(base64.b64decode(answer["tensors"]))
    return Computed(tensors, answer["before"], answer["after"])


def by_library(
    backbone: Backbone,
    picture: Image.Image,
    phrases: tuple[str, ...] = PHRASES,
    t: float = 400,
    head: str | None = None,
) -> dict[str, Tensor]:
    latents = backbone.encode_image(picture)
    context = backbone.encode_text(phrases)
    features = backbone.probe(latents, phrases, t)
    tensors = {str(block): each for block, each in features.blocks.items()}
    tensors |= {"latents": latents, "context": context}
    if head is not None:
        with torch.inference_mode():
            tensors["logits"] = load_head(head)(latents, context, features)
    return tensors


def distances(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """How far tensors are apart, each by the norm of what is expected."""
    assert found.keys() == expected.keys()
    return {
        name: float((found[name] - expected[name]).norm() / expected[name].norm())
        for name in expected
    }


@pytest.fixture(scope="module")
def library() -> Backbone:
    return load_backbone("miniature")


@pytest.fixture(scope="module")
def plain(client: Client) -> Computed:
    """What A1111 gives for the drawn picture with every setting as it is at first."""
    return by_host(client, drawn())


class TestA1111:
    @pytest.mark.parametrize("size", [(128, 128), (200, 136), (64, 128)])
    def test_all_is_as_the_library_computes_it(
        self, client: Client, library: Backbone, size: tuple[int, int]
    ) -> None:
        picture = drawn(*size)
        found = by_host(client, picture, head="miniature").tensors
        expected = by_library(library, picture, head="miniature")
        assert set(found) == {*BLOCKS, "latents", "context", "logits"}
        assert max(distances(found, expected).values()) <= SAME

    @pytest.mark.parametrize("t", [0, 300, 999])
    def test_it_is_at_other_timesteps(self, client: Client, library: Backbone, t: int) -> None:
        found = by_host(client, drawn(), t=t).tensors
        assert max(distances(found, by_library(library, drawn(), t=t)).values()) <= SAME

    @pytest.mark.parametrize("phrase", ["(owl:1.3)", "[owl|car]", "a AND b BREAK c", "<lora:a:1>"])
    def test_signs_in_phrases_are_letters(
        self, client: Client, library: Backbone, phrase: str
    ) -> None:
        phrases = (phrase,)
        found = by_host(client, drawn(64, 64), phrases).tensors
        expected = by_library(library, drawn(64, 64), phrases)
        assert max(distances(found, expected).values()) <= SAME

    def test_a_probe_gives_the_same_bits_again(self, client: Client, plain: Computed) -> None:
        assert by_host(client, drawn()).is_same_bits(plain)

    def test_the_model_is_left_as_found(self, client: Client) -> None:
        before = client.state(is_thorough=True)
        found = by_host(client, drawn())
        after = client.state(is_thorough=True)
        assert found.before == found.after
        assert after["hooks"] == before["hooks"]
        assert after["randomness"] == before["randomness"]


class TestWhatChangesPicturesInA1111:
    """Settings and files that change pictures, but no probe."""

    def test_clip_skip(self, client: Client, plain: Computed) -> None:
        with client.options(CLIP_stop_at_last_layers=2):
            found = by_host(client, drawn())
        assert found.is_same_bits(plain)
        assert found.before == found.after
        assert found.before["clip_skip"][0] == 2

    @pytest.mark.parametrize("emphasis", ["None", "Ignore", "No norm"])
    def test_emphasis(self, client: Client, emphasis: str) -> None:
        plain = by_host(client, drawn(64, 64), ("(owl:1.3)",))
        with client.options(emphasis=emphasis):
            assert by_host(client, drawn(64, 64), ("(owl:1.3)",)).is_same_bits(plain)

    def test_a_textual_inversion_of_the_name(
        self, client: Client, server: Server, plain: Computed
    ) -> None:
        with textual_inversion(client, server, "owl"):
            assert "owl" in client.call("/sdapi/v1/embeddings")["loaded"]
            assert by_host(client, drawn()).is_same_bits(plain)

    def test_merged_tokens(self, client: Client, plain: Computed) -> None:
        found = by_host(client, drawn(), merged=0.5)
        assert found.is_same_bits(plain)
        assert found.before == found.after
        assert found.before["merged"] == 0.5

    def test_joined_edges(self, client: Client, plain: Computed) -> None:
        found = by_host(client, drawn(), is_tiling=True)
        assert found.is_same_bits(plain)
        assert found.before == found.after
        assert "circular" in found.before["paddings"]

    def test_joined_edges_of_the_picture_before(self, client: Client, plain: Computed) -> None:
        client.txt2img(prompt="an owl", steps=1, width=64, height=64, tiling=True)
        assert by_host(client, drawn()).is_same_bits(plain)

    @pytest.mark.slow
    def test_little_memory(self, start: Start, miniature: Path, plain: Computed) -> None:
        client = start("webui", miniature, "--lowvram").client()
        assert by_host(client, drawn()).is_same_bits(plain)

    @pytest.mark.slow
    def test_a_checkpoint_for_inpainting_that_does_not_look_at_its_mask(
        self,
        start: Start,
        miniature: Path,
        tmp_path_factory: pytest.TempPathFactory,
        plain: Computed,
    ) -> None:
        widened = for_inpainting(miniature, tmp_path_factory.mktemp("inpainting"))
        found = by_host(start("webui", widened).client(), drawn())
        assert max(distances(found.tensors, plain.tensors).values()) <= SAME


class TestLora:
    """A LoRA is a change of the model that the user has asked for, so a probe sees it."""

    def test_it_stays_as_the_host_has_it(
        self, client: Client, server: Server, plain: Computed
    ) -> None:
        with lora(client, server, "louder"):
            client.txt2img(prompt="an owl <lora:louder:1>", steps=1, width=64, height=64)
            once, again = by_host(client, drawn()), by_host(client, drawn())
            assert again.is_same_bits(once)
            assert distances(once.tensors, plain.tensors)["7"] > 0.01
            client.txt2img(prompt="an owl", steps=1, width=64, height=64)
        assert by_host(client, drawn()).is_same_bits(plain)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """SD 1.5 of the true size with random weights; Forge knows no smaller ones."""
    if find_host("forge") is None:
        pytest.skip(NO_HOST["forge"])
    folder = tmp_path_factory.mktemp("true-size")
    checkpoint, head = folder / "random-sd1.safetensors", folder / "head.safetensors"
    script = Path(__file__).parent / "inside" / "random_sd1.py"
    subprocess.run([sys.executable, script, PROJECT, checkpoint, head], check=True)
    head.unlink()
    yield checkpoint
    checkpoint.unlink()


@pytest.fixture(scope="module")
def forge(start: Start, full_size: Path) -> Iterator[Client]:
    server = start("forge", full_size)
    yield server.client()
    server.stop()


@pytest.fixture(scope="module")
def full_library(full_size: Path) -> Backbone:
    return load_backbone(full_size)


@pytest.mark.slow
class TestForge:
    """Forge, or reForge where LDZNET_FORGE names one; they leave different things behind."""

    @pytest.mark.parametrize("size", [(128, 128), (136, 64)])
    def test_all_is_as_the_library_computes_it(
        self, forge: Client, full_library: Backbone, size: tuple[int, int]
    ) -> None:
        picture = drawn(*size)
        found = by_host(forge, picture).tensors
        expected = by_library(full_library, picture)
        assert set(found) == {*BLOCKS, "latents", "context"}
        assert max(distances(found, expected).values()) <= SAME

    def test_signs_and_clip_skip_change_nothing(
        self, forge: Client, full_library: Backbone
    ) -> None:
        phrases = ("(owl:1.3)",)
        expected = by_library(full_library, drawn(64, 64), phrases)
        with forge.options(CLIP_stop_at_last_layers=2):
            found = by_host(forge, drawn(64, 64), phrases)
        assert max(distances(found.tensors, expected).values()) <= SAME
        assert by_host(forge, drawn(64, 64), phrases).is_same_bits(found)

    def test_shortcuts_of_the_picture_before(self, forge: Client) -> None:
        plain = by_host(forge, drawn(64, 64))
        request = {"prompt": "an owl", "steps": 1, "width": 64, "height": 64, "tiling": True}
        with forge.options(token_merging_ratio=0.5, live_previews_enable=False):
            forge.txt2img(**request)
        found = by_host(forge, drawn(64, 64))
        assert found.is_same_bits(plain)
        assert found.before == found.after

    def test_the_model_is_left_as_found(self, forge: Client) -> None:
        by_host(forge, drawn(64, 64))
        before = forge.state(is_thorough=True)
        found = by_host(forge, drawn(64, 64))
        after = forge.state(is_thorough=True)
        assert found.before == found.after
        assert after["hooks"] == before["hooks"]
        assert after["randomness"] == before["randomness"]


@contextmanager
def textual_inversion(client: Client, server: Server, name: str) -> Iterator[None]:
    """Have the host know a word of that name which means noise."""
    file = server.base / "embeddings" / f"{name}.safetensors"
    file.parent.mkdir(exist_ok=True)
    vectors = torch.randn(2, 128, generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file({"emb_params": vectors}, file)
    try:
        client.call("/sdapi/v1/refresh-embeddings", {})
        yield
    finally:
        file.unlink()
        client.call("/sdapi/v1/refresh-embeddings", {})


@contextmanager
def lora(client: Client, server: Server, name: str) -> Iterator[None]:
    """Have the host know a LoRA of that name that changes one layer of the UNet."""
    file = server.base / "models" / "Lora" / f"{name}.safetensors"
    file.parent.mkdir(exist_ok=True)
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v"
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(4, 128, generator=generator) * 0.3
    up = torch.randn(128, 4, generator=generator) * 0.3
    tensors = {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
    safetensors.torch.save_file({**tensors, f"{layer}.alpha": torch.tensor(4.0)}, file)
    try:
        client.call("/sdapi/v1/refresh-loras", {})
        yield
    finally:
        file.unlink()
        client.call("/sdapi/v1/refresh-loras", {})


def for_inpainting(checkpoint: Path, folder: Path) -> Path:
    """The same model with five channels more to read, of a mask and a picture, which it ignores."""
    wider = folder / checkpoint.name
    tensors = safetensors.torch.load_file(checkpoint)
    name = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[name] = F.pad(tensors[name], (0, 0, 0, 0, 0, 5))
    safetensors.torch.save_file(tensors, wider)
    settings = checkpoint.with_suffix(".yaml").read_text(encoding="utf-8")
    settings = settings.replace('conditioning_key: "crossattn"', 'conditioning_key: "hybrid"')
    settings = settings.replace("in_channels: 4", "in_channels: 9")
    wider.with_suffix(".yaml").write_text(settings, encoding="utf-8")
    return wider
