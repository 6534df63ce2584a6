"""Which files are SD 1.x models, in whichever of their usual forms, and what is said of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor

from ldznet_core import CheckpointError, LDZNetError, UnsupportedModelError
from ldznet_core.backends import load_backbone
from ldznet_core.backends.stable_diffusion import StableDiffusionBackbone
from ldznet_core.miniature.parts import WEIGHTS
from ldznet_core.unet.diffusers_keys import diffusers_config, to_diffusers

from ..core.tiny import picture
from .reduced import (
    SIZES,
    TEXT,
    UNET,
    VAE,
    VAE_CHANNELS,
    checkpoint,
    text_encoder,
    text_state,
    unet_state,
    vae_state,
    write_checkpoint,
)

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def expected(checkpoint_file: Path) -> list[Tensor]:
    return outputs(checkpoint_file)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """The folder that diffusers would write, in the forms of today."""
    folder = tmp_path / "pipeline"
    vae = as_diffusers_vae()
    parts = {
        "unet": (diffusers_config(SIZES), to_diffusers(unet_state(), SIZES)),
        "vae": ({"scaling_factor": 0.18215}, dict(vae.state_dict())),
        "text_encoder": (text_encoder().config.to_dict(), text_state()),
    }
    for part, (config, state) in parts.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config, default=str))
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        save(folder / part / f"{name}.safetensors", state)
    return folder


def as_diffusers_vae() -> AutoencoderKL:
    """The checkpoint's VAE under diffusers' names, by diffusers' own conversion."""
    vae = AutoencoderKL(
        block_out_channels=VAE_CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
    )
    converted = convert_ldm_vae_checkpoint(
        {f"first_stage_model.{name}": each.clone() for name, each in vae_state().items()},
        vae.config,
    )
    _, surplus = vae.load_state_dict(converted, strict=False)  # the decoder is not there
    assert not surplus
    return vae


def save(file: Path, state: State) -> None:
    save_file({name: each.contiguous() for name, each in state.items()}, file)


def outputs(source: Path) -> list[Tensor]:
    """Latents, text features and features: one tensor out of each network."""
    backbone = load_backbone(source)
    assert isinstance(backbone, StableDiffusionBackbone)
    latents = backbone.encode_image(picture(64, 48))
    probed = backbone.probe(torch.ones(1, 4, 8, 8), ["cat"])
    return [latents, backbone.encode_text(["cat"]), probed.blocks[7], probed.blocks[10]]


def assert_same(source: Path, expected: list[Tensor], tolerance: float = 0.0) -> None:
    for ours, theirs in zip(outputs(source), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


class TestFiles:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_loads(
        self, dtype: torch.dtype, tmp_path: Path, expected: list[Tensor]
    ) -> None:
        file = write_checkpoint(tmp_path / "half.safetensors", dtype=dtype)
        assert_same(file, expected, tolerance=0.1)

    @pytest.mark.parametrize("has_positions", [True, False])
    def test_the_text_encoder_s_names_may_be_bare(
        self, has_positions: bool, tmp_path: Path, expected: list[Tensor]
    ) -> None:
        state = checkpoint("cond_stage_model.transformer.")
        if not has_positions:
            state = {name: each for name, each in state.items() if "position_ids" not in name}
        assert_same(write_checkpoint(tmp_path / "bare.safetensors", state), expected)

    def test_an_average_beside_the_plain_unet_is_left_alone(
        self, tmp_path: Path, expected: list[Tensor]
    ) -> None:
        state = {**checkpoint(), **{name: 2 * each for name, each in averaged().items()}}
        assert_same(write_checkpoint(tmp_path / "full-ema.safetensors", state), expected)

    def test_an_average_alone_is_taken(self, tmp_path: Path, expected: list[Tensor]) -> None:
        state = {**without(UNET), **averaged()}
        assert_same(write_checkpoint(tmp_path / "ema.safetensors", state), expected)

    def test_what_other_programs_put_beside_is_ignored(
        self, tmp_path: Path, expected: list[Tensor]
    ) -> None:
        state = {
            **checkpoint(),
            f"{TEXT}text_projection.weight".replace("text_model.", ""): torch.ones(64, 64),
            "cond_stage_model.logit_scale": torch.ones(1),
            "control_model.input_hint_block.0.weight": torch.ones(3, 3),
        }
        assert_same(write_checkpoint(tmp_path / "more.safetensors", state), expected)


class TestFolders:
    def test_a_pipeline_loads(self, pipeline: Path, expected: list[Tensor]) -> None:
        assert_same(pipeline, expected)

    def test_names_of_old_load_too(self, pipeline: Path, expected: list[Tensor]) -> None:
        rewrite(
            pipeline / "vae" / "diffusion_pytorch_model.safetensors",
            lambda name: (
                name.replace("to_q", "query")
                .replace("to_k", "key")
                .replace("to_v", "value")
                .replace("to_out.0", "proj_attn")
            ),
        )
        rewrite(pipeline / "text_encoder" / "model.safetensors", lambda name: f"text_model.{name}")
        assert_same(pipeline, expected)

    def test_shards_and_variants_load(self, pipeline: Path, expected: list[Tensor]) -> None:
        whole = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
        state = load_file(whole)
        names = sorted(state)
        for number, part in enumerate((names[:300], names[300:]), start=1):
            shard = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
            save(whole.with_name(shard), {name: state[name] for name in part})
        whole.unlink()
        save(whole.with_name("diffusion_pytorch_model.fp16.safetensors"), {"wrong": torch.ones(1)})
        text = pipeline / "text_encoder" / "model.safetensors"
        text.rename(text.with_name("model.fp16.safetensors"))
        assert_same(pipeline, expected)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"use_linear_projection": True}, "SD 2"),
            ({"addition_embed_type": "text_time"}, "SDXL"),
            ({"attention_head_dim": [5, 10, 20, 20]}, "attention heads"),
            ({"attention_head_dim": 0}, "attention heads"),
        ],
    )
    def test_other_families_are_refused_by_their_configuration(
        self, setting: dict[str, object], message: str, pipeline: Path
    ) -> None:
        file = pipeline / "unet" / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **setting}))
        refused(pipeline, message)

    def test_pickled_parts_are_refused(self, pipeline: Path) -> None:
        weights = pipeline / "vae" / "diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_suffix(".bin"))
        refused(pipeline, r"diffusion_pytorch_model\.bin: save the pipeline with safe_serial")

    @pytest.mark.parametrize("content", ["{", "[]", ""])
    def test_a_damaged_configuration_is_a_sentence(self, content: str, pipeline: Path) -> None:
        (pipeline / "vae" / "config.json").write_text(content)
        refused(pipeline, r"config\.json")

    def test_a_folder_of_something_else_is_refused(self, tmp_path: Path) -> None:
        refused(tmp_path, "a diffusers pipeline with unet, vae, text_encoder")

    def test_a_folder_of_the_miniature_is_known(self) -> None:
        assert load_backbone(WEIGHTS).family == load_backbone("miniature").family == "miniature"


def averaged() -> State:
    """The UNet's entries as the average has them: without dots."""
    names = {name: "model_ema.diffusion_model" + name.replace(".", "") for name in unet_state()}
    return {
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(1),
        **{names[name]: each for name, each in unet_state().items()},
    }


def without(prefix: str) -> State:
    return {name: each for name, each in checkpoint().items() if not name.startswith(prefix)}


def reshaped(name: str, *shape: int) -> State:
    return {**checkpoint(), name: torch.zeros(shape)}


def inpainting() -> State:
    return reshaped(f"{UNET}input_blocks.0.0.weight", 32, 9, 3, 3)


def sd2() -> State:
    linear = {
        name: each[:, :, 0, 0] if "proj_" in name and each.ndim == 4 else each
        for name, each in without(TEXT).items()
    }
    return {**linear, "cond_stage_model.model.positional_embedding": torch.ones(77, 64)}


def sdxl() -> State:
    return {**without(TEXT), f"{UNET}label_emb.0.0.weight": torch.ones(8, 8)}


def flux() -> State:
    blocks = {f"{UNET}double_blocks.0.img_attn.qkv.weight": torch.ones(8, 8)}
    return {**without(UNET), **blocks}


def cut_off() -> State:
    return {name: each for name, each in checkpoint().items() if "output_blocks.11" not in name}


def integers() -> State:
    state = checkpoint()
    name = f"{UNET}middle_block.0.in_layers.2.weight"
    return {**state, name: state[name].to(torch.int8)}


def small_vocabulary() -> State:
    return reshaped(f"{TEXT}embeddings.token_embedding.weight", 1000, 64)


REFUSED: dict[str, tuple[Callable[[], State], str]] = {
    "an inpainting model": (inpainting, "reads 9 .made for inpainting"),
    "SD 2": (sd2, "SD 2"),
    "SDXL": (sdxl, "SDXL"),
    "Flux": (flux, "another network, such as double_blocks"),
    "no UNet": (lambda: without(UNET), "a UNet .model.diffusion_model"),
    "no VAE": (lambda: without(VAE), "a VAE .first_stage_model"),
    "no text encoder": (lambda: without(TEXT), "a text encoder .cond_stage_model"),
    "no model at all": (lambda: {"lora_up.weight": torch.ones(4, 4)}, "a UNet"),
    "nothing": (dict, "a UNet"),
    "a UNet cut off": (cut_off, r"missing \(output_blocks\.11\.0\.emb_layers\.1\.bias, "),
    "a quantised UNet": (integers, "1 no floats"),
    "a text encoder of other tokens": (small_vocabulary, "from 1000"),
    "a text encoder of another width": (
        lambda: reshaped(f"{TEXT}embeddings.token_embedding.weight", 49408, 32),
        "got width 32",
    ),
    "a UNet of two widths": (
        lambda: reshaped(f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight", 128, 80),
        "31 misshapen",
    ),
    "an absurd width": (
        lambda: reshaped(f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight", 0, 10**15),
        "the shapes of an SD 1.x UNet|misshapen",
    ),
    "no width": (lambda: reshaped(f"{UNET}input_blocks.0.0.weight", 0, 4, 3, 3), "shapes"),
    "a vector for a kernel": (lambda: reshaped(f"{UNET}input_blocks.0.0.weight", 32), "shapes"),
    "an absurd VAE": (lambda: reshaped(f"{VAE}encoder.down.1.block.0.conv1.weight", 7), "VAE"),
    "a VAE without levels": (
        lambda: {n: t for n, t in checkpoint().items() if ".encoder.down" not in n},
        "VAE",
    ),
    "an absurd text encoder": (
        lambda: reshaped(f"{TEXT}embeddings.token_embedding.weight", 49408 * 64),
        "text encoder",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    build, message = REFUSED[name]
    refused(write_checkpoint(tmp_path / "other.safetensors", build()), message)


@pytest.mark.parametrize("name", ["sd.ckpt", "sd.pt", "sd.pth", "sd.bin"])
def test_pickles_are_refused_without_being_opened(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    refused(tmp_path / name, "the pickle")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "gone.safetensors", r"gone\.safetensors, which is not there")


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x08\0\0\0\0\0\0\0{}      "])
def test_damaged_files_are_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "damaged.safetensors"
    file.write_bytes(content)
    refused(file, r"damaged\.safetensors")


def test_a_file_that_was_cut_off_is_refused(checkpoint_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "cut.safetensors"
    shutil.copy(checkpoint_file, file)
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)
    refused(file, r"cut\.safetensors")


def test_the_miniature_knows_float32_alone() -> None:
    with pytest.raises(LDZNetError, match="expected float32 for the miniature, got bfloat16"):
        load_backbone("miniature", dtype=torch.bfloat16)


@pytest.mark.parametrize("device", ["quantum", "cuda:77"])
def test_a_device_that_is_not_there_is_refused(device: str, checkpoint_file: Path) -> None:
    with pytest.raises(LDZNetError, match="expected a device of this machine"):
        load_backbone(checkpoint_file, device=device)


def refused(source: Path, message: str) -> None:
    """A sentence about the source, and nothing else."""
    with pytest.raises((CheckpointError, UnsupportedModelError), match=message) as caught:
        load_backbone(source)
    assert str(caught.value).startswith("expected ")
    assert "\n" not in str(caught.value)


def rewrite(file: Path, rename: Callable[[str], str]) -> None:
    state = load_file(file)
    save(file, {rename(name): each for name, each in state.items()})
