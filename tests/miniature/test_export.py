"""The exported miniature, read by others than those who wrote it: diffusers and transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("diffusers", reason="what is exported is compared with the extra `cli`")

import yaml  # of huggingface_hub, and so of diffusers
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ldznet_core import (
    CheckpointError,
    UnsupportedModelError,
    load_backbone,
    load_miniature,
)
from ldznet_core.miniature import Miniature
from ldznet_core.miniature.export import NAME, export_miniature
from ldznet_core.miniature.networks import build_unet, save_unet
from ldznet_core.miniature.parts import WEIGHTS, save_part
from ldznet_core.miniature.text import TextEncoder, save_text_encoder, tokenize
from ldznet_core.miniature.vae import build_vae, save_vae
from ldznet_core.unet import UNet, infer_unet_config
from ldznet_core.weights import read_metadata, read_weights, write_weights

ROOT = Path(__file__).parents[2]
PHRASES = ["a red car in a meadow", "owl", "a xylophone, for once"]


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "new" / "folder"
    export_miniature(folder, "webui")
    return folder


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts of other sizes than the built-in ones, with fresh weights."""
    folder = tmp_path_factory.mktemp("larger")
    torch.manual_seed(0)
    save_unet(build_unet(64, model_channels=64), folder / "unet", "none")
    save_vae(build_vae((32, 64, 96, 128), 64), folder / "vae", "none")
    save_text_encoder(TextEncoder((5, 7), width=64, layers=2), folder / "text_encoder", "none")
    return folder


def below(prefix: str, folder: Path) -> dict[str, Tensor]:
    """The part of a checkpoint whose names begin so, in float32, by the rest of the names."""
    tensors, _ = read_weights(folder / NAME)
    return {
        name.removeprefix(prefix): each.float() if each.is_floating_point() else each
        for name, each in tensors.items()
        if name.startswith(prefix)
    }


def configuration(folder: Path) -> dict[str, Any]:
    """The arguments of the whole model."""
    read = yaml.safe_load((folder / f"{NAME}.yaml").read_text("utf-8"))
    params: dict[str, Any] = read["model"]["params"]
    return params


def vae_of(folder: Path) -> dict[str, Tensor]:
    """The VAE by diffusers' names, as diffusers itself turns them back."""
    levels = len(configuration(folder)["first_stage_config"]["params"]["ddconfig"]["ch_mult"])
    types = {key: [""] * levels for key in ("down_block_types", "up_block_types")}
    tensors, _ = read_weights(folder / NAME)
    vae = {name: each.float() for name, each in tensors.items() if name.startswith("first_stage")}
    read: dict[str, Tensor] = convert_ldm_vae_checkpoint(vae, types)
    return read


def same(given: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return given.keys() == expected.keys() and all(
        torch.equal(given[name], expected[name]) for name in given
    )


def copy_parts(source: Path, target: Path, named: dict[str, str]) -> None:
    """Parts under names that may be another's."""
    for name, content in named.items():
        tensors, metadata = read_weights(source / content)
        write_weights(tensors, target / name, metadata)


class TestTheWeights:
    def test_those_of_the_unet_are_its_own(self, exported: Path, miniature: Miniature) -> None:
        assert same(below("model.diffusion_model.", exported), miniature.unet.state_dict())

    def test_diffusers_reads_those_of_the_vae(self, exported: Path, miniature: Miniature) -> None:
        assert same(vae_of(exported), miniature.vae.state_dict())

    def test_transformers_reads_phrases_as_the_miniature_does(
        self, exported: Path, miniature: Miniature
    ) -> None:
        folder = exported / f"{NAME}-clip"
        encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(str(folder))).eval()
        weights = below("cond_stage_model.transformer.text_model.", exported)
        assert torch.equal(weights.pop("embeddings.position_ids"), torch.arange(77)[None])
        getattr(encoder, "text_model", encoder).load_state_dict(weights)
        ids = CLIPTokenizer.from_pretrained(str(folder))(
            PHRASES, padding="max_length", return_tensors="pt"
        )["input_ids"]
        assert torch.equal(ids, tokenize(PHRASES))
        with torch.inference_mode():
            context = encoder(input_ids=ids).last_hidden_state
        # The same layers, with the position and token rows found in another way.
        torch.testing.assert_close(context, miniature.encode_text(PHRASES), rtol=0, atol=1e-5)

    def test_nothing_else_is_in_the_file(self, exported: Path) -> None:
        prefixes = (
            "model.diffusion_model.",
            "first_stage_model.",
            "cond_stage_model.transformer.text_model.",
        )
        tensors, _ = read_weights(exported / NAME)
        assert all(name.startswith(prefixes) for name in tensors)
        floats = {each.dtype for each in tensors.values() if each.is_floating_point()}
        assert floats == {torch.float16}

    def test_the_header_tells_what_weights_cannot(self, exported: Path) -> None:
        metadata = read_metadata(exported / NAME)
        assert metadata["training"] == read_metadata(WEIGHTS / "unet")["training"]
        untold = json.loads(metadata["ldznet_miniature"])
        assert (untold["unet_heads"], untold["text_heads"]) == (2, 4)
        assert untold["scaling_factor"] == pytest.approx(0.41825, abs=1e-5)


class TestTheConfiguration:
    def test_it_has_the_sizes_of_the_miniature(self, exported: Path, miniature: Miniature) -> None:
        given = configuration(exported)
        assert given["scale_factor"] == miniature.vae.config.scaling_factor
        assert given["unet_config"]["params"] == {
            "image_size": 16,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 32,
            "channel_mult": [1, 2, 4, 4],
            "num_res_blocks": 2,
            "attention_resolutions": [1, 2, 4],
            "num_heads": 2,
            "use_spatial_transformer": True,
            "transformer_depth": 1,
            "context_dim": 128,
            "use_checkpoint": False,
            "legacy": False,
        }
        vae = given["first_stage_config"]["params"]["ddconfig"]
        assert (vae["ch"], vae["ch_mult"], vae["num_res_blocks"]) == (32, [1, 1, 2, 2], 1)

    def test_it_names_the_folder_of_clip_by_the_whole_path(self, exported: Path) -> None:
        version = configuration(exported)["cond_stage_config"]["params"]["version"]
        assert version == str(exported.absolute() / f"{NAME}-clip")

    @pytest.mark.parametrize("name", ["héros 🦉", 'it\'s: a #1 "folder"', "back\\slash"])
    def test_a_folder_may_have_any_name(self, name: str, tmp_path: Path) -> None:
        export_miniature(tmp_path, "webui", home=tmp_path / name)
        version = configuration(tmp_path)["cond_stage_config"]["params"]["version"]
        assert version == str(tmp_path / name / f"{NAME}-clip")

    def test_the_checkpoint_alone_needs_none(self, tmp_path: Path) -> None:
        (file,) = export_miniature(tmp_path, "ldm")
        assert list(tmp_path.iterdir()) == [file]
        assert file.name == f"{NAME}.safetensors"


def test_a_miniature_of_other_sizes_is_exported_as_it_is(larger: Path, tmp_path: Path) -> None:
    export_miniature(tmp_path, "webui", source=larger)
    given = configuration(tmp_path)
    unet = below("model.diffusion_model.", tmp_path)
    sizes = infer_unet_config(unet, given["unet_config"]["params"]["num_heads"])
    UNet(sizes).load_state_dict(unet)
    assert (sizes.model_channels, sizes.context_dim) == (64, 64)
    vae = given["first_stage_config"]["params"]["ddconfig"]
    assert (vae["ch"], vae["ch_mult"], vae["resolution"]) == (32, [1, 2, 3, 4], 64)
    stored, _ = read_weights(larger / "vae")
    assert same(vae_of(tmp_path), {name: each.float() for name, each in stored.items()})
    text = json.loads((tmp_path / f"{NAME}-clip" / "config.json").read_text("utf-8"))
    assert (text["hidden_size"], text["num_hidden_layers"], text["num_attention_heads"]) == (
        64,
        2,
        2,
    )


def test_the_same_miniature_gives_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    (file,) = export_miniature(tmp_path, "ldm")
    assert file.read_bytes() == (exported / file.name).read_bytes()


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("text_encoder", "vae"),
        ("vae", "unet"),
        ("unet", "text_encoder"),
    ],
)
def test_parts_in_each_other_s_place_are_refused(
    part: str, content: str, larger: Path, tmp_path: Path
) -> None:
    copy_parts(
        larger,
        tmp_path,
        {"unet": "unet", "vae": "vae", "text_encoder": "text_encoder"} | {part: content},
    )
    with pytest.raises(CheckpointError, match="got"):
        export_miniature(tmp_path / "out", "webui", source=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_vae_that_ldm_cannot_build_is_refused(larger: Path, tmp_path: Path) -> None:
    copy_parts(larger, tmp_path, {"unet": "unet", "text_encoder": "text_encoder"})
    config = {"channels": [64, 96], "image_side": 64, "scaling_factor": 1.0}
    save_part({"quant_conv.weight": torch.ones(1)}, tmp_path / "vae", config, "none")
    with pytest.raises(CheckpointError, match=r"\[64, 96\] channels"):
        export_miniature(tmp_path / "out", "ldm", source=tmp_path)


def test_it_takes_neither_diffusers_nor_transformers(tmp_path: Path) -> None:
    code = (
        "import sys; from ldznet_core.cli import main\n"
        f"assert main(['export-miniature', {str(tmp_path)!r}]) == 0\n"
        "assert not {'diffusers', 'transformers', 'PIL', 'yaml'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_it_is_not_taken_for_a_checkpoint_of_sd1(tmp_path: Path) -> None:
    checkpoint = export_miniature(tmp_path, "ldm")[0]
    with pytest.raises(UnsupportedModelError, match="got the miniature for other hosts"):
        load_backbone(checkpoint)
