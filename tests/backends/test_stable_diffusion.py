"""An SD 1.x checkpoint as a backbone: what it computes, held against the networks themselves."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ldznet_core import (
    InputError,
    Segmenter,
    UnsupportedModelError,
    capturing,
    find_taps,
    load_head,
)
from ldznet_core.backends import load_backbone
from ldznet_core.backends.stable_diffusion import StableDiffusionBackbone
from ldznet_core.probe import probe_features
from ldznet_core.tokenizer import tokenize
from ldznet_core.unet import UNet

from ..core.tiny import needs_float16, picture
from .reduced import SIZES, VAE_CHANNELS, text_encoder, unet_state, vae_state


@pytest.fixture(scope="module")
def backbone(checkpoint_file: Path) -> StableDiffusionBackbone:
    return loaded(checkpoint_file)


@pytest.fixture(scope="module")
def segmenter(backbone: StableDiffusionBackbone, head_file: Path) -> Segmenter:
    return Segmenter(backbone, load_head(head_file))


def loaded(source: Path, **options: object) -> StableDiffusionBackbone:
    backbone = load_backbone(source, **options)  # type: ignore[arg-type]  # as a caller gives them
    assert isinstance(backbone, StableDiffusionBackbone)
    return backbone


class TestLatents:
    def test_they_are_those_of_compvis_own_encoder(
        self, backbone: StableDiffusionBackbone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encoder = compvis_encoder(monkeypatch)
        image = picture(72, 40)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            moments = nn.functional.conv2d(
                encoder(pixels),
                vae_state()["quant_conv.weight"],
                vae_state()["quant_conv.bias"],
            )
        mode, deviation = moments[:, :4], (0.5 * moments[:, 4:].clamp(-30, 20)).exp()
        posterior = backbone.encode_posterior(image)
        assert mode.std() > 0.1
        torch.testing.assert_close(posterior.mode, 0.18215 * mode, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(posterior.deviation, 0.18215 * deviation, atol=1e-5, rtol=1e-5)
        assert torch.equal(backbone.encode_image(image), posterior.mode)

    def test_sides_must_be_whole_latents(self, backbone: StableDiffusionBackbone) -> None:
        with pytest.raises(InputError, match="multiples of 8, got 60x64"):
            backbone.encode_image(picture(60, 64))


class TestContext:
    def test_it_is_that_of_transformers(self, backbone: StableDiffusionBackbone) -> None:
        phrases = ["a red car", "the sky"]
        with torch.no_grad():
            expected = text_encoder()(input_ids=tokenize(phrases)).last_hidden_state
        context = backbone.encode_text(phrases)
        assert context.shape == (2, 77, 64)
        torch.testing.assert_close(context, expected, atol=1e-5, rtol=0)

    def test_company_changes_no_bit(self, checkpoint_file: Path) -> None:
        together = loaded(checkpoint_file).encode_text(["cat", "dog", "red car"])
        alone = loaded(checkpoint_file).encode_text(["red car"])
        assert torch.equal(together[2:], alone)

    def test_more_than_77_tokens_are_refused(self, backbone: StableDiffusionBackbone) -> None:
        with pytest.raises(InputError, match="77 tokens"):
            backbone.encode_text(["cat " * 80])


class TestProbe:
    def test_it_gives_the_features_of_the_whole_unet(
        self, backbone: StableDiffusionBackbone
    ) -> None:
        latents, context = torch.randn(1, 4, 8, 16), backbone.encode_text(["cat", "dog"])
        expected = probe_features(whole_unet(), latents, context, backbone.schedule, t=350)
        features = backbone.probe(latents, ["cat", "dog"], t=350)
        assert (features.timestep, features.source) == (350, "probe")
        for block, each in expected.blocks.items():
            torch.testing.assert_close(features.blocks[block], each)

    def test_what_comes_after_the_last_tap_is_not_loaded(
        self, backbone: StableDiffusionBackbone
    ) -> None:
        meta = {name for name, each in backbone.unet.named_parameters() if each.is_meta}
        assert {name.split(".")[0] for name in meta} == {"output_blocks", "out"}
        stages = {name.split(".")[1] for name in meta if name.startswith("output_blocks")}
        assert stages == {"5", "6", "7", "8", "9", "10", "11"}
        assert all(name.startswith("output_blocks.5.2.") for name in meta if ".5." in name[:16])

    def test_a_whole_pass_is_refused_unless_the_unet_was_loaded_whole(
        self, backbone: StableDiffusionBackbone, checkpoint_file: Path
    ) -> None:
        inputs = torch.randn(1, 4, 8, 8), torch.tensor([7]), torch.randn(1, 77, 64)
        with pytest.raises(UnsupportedModelError, match="whole_unet=True"), torch.no_grad():
            backbone.unet(*inputs)
        whole = loaded(checkpoint_file, whole_unet=True).unet
        with torch.no_grad():
            assert torch.equal(whole(*inputs), whole_unet()(*inputs))

    def test_it_is_read_when_it_is_first_used(self, checkpoint_file: Path, tmp_path: Path) -> None:
        copy = tmp_path / "gone.safetensors"
        copy.write_bytes(checkpoint_file.read_bytes())
        backbone = loaded(copy)
        backbone.encode_text(["cat"])
        copy.unlink()
        with pytest.raises(Exception, match=r"gone\.safetensors"):
            _ = backbone.unet

    @pytest.mark.parametrize(
        "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=needs_float16)]
    )
    def test_other_dtypes_are_near(
        self, backbone: StableDiffusionBackbone, checkpoint_file: Path, dtype: torch.dtype
    ) -> None:
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        features = loaded(checkpoint_file, dtype=dtype).probe(latents, ["cat"])
        exact = backbone.probe(latents, ["cat"])
        for block, each in features.blocks.items():
            assert each.dtype == dtype
            distance = (each.float() - exact.blocks[block]).std() / exact.blocks[block].std()
            assert distance < 0.05


class TestSegmenter:
    def test_masks_have_the_size_of_the_picture(self, segmenter: Segmenter) -> None:
        found = segmenter.segment_image(picture(90, 61), ["cat", "dog"], negatives=["sky"])
        assert found.masks.shape == (2, 61, 90)
        assert found.logits.std() > 0.01
        assert (found.source, found.timestep) == ("probe", 400.0)

    def test_the_same_call_gives_the_same_bits(self, segmenter: Segmenter) -> None:
        first = segmenter.segment_image(picture(64, 48), ["cat"])
        torch.manual_seed(5)
        assert torch.equal(first.logits, segmenter.segment_image(picture(64, 48), ["cat"]).logits)

    def test_three_phrases_at_once_give_what_three_calls_give(self, segmenter: Segmenter) -> None:
        phrases = ["cat", "dog", "the sky"]
        together = segmenter.segment_image(picture(64, 64), phrases)
        for number, phrase in enumerate(phrases):
            alone = segmenter.segment_image(picture(64, 64), [phrase])
            torch.testing.assert_close(
                together.logits[number], alone.logits[0], atol=1e-4, rtol=1e-4
            )

    def test_no_hook_outlives_an_error_in_the_unet(
        self, checkpoint_file: Path, head_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backbone = loaded(checkpoint_file)
        tap = find_taps(backbone.unet)[9].module
        monkeypatch.setattr(tap, "forward", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            Segmenter(backbone, load_head(head_file)).segment_image(picture(64, 64), ["cat"])
        assert not [each for each in backbone.unet.modules() if each._forward_hooks]

    def test_features_may_come_from_one_s_own_pass(
        self, segmenter: Segmenter, backbone: StableDiffusionBackbone
    ) -> None:
        latents = backbone.encode_image(picture(64, 64))
        context = backbone.encode_text(["a room"])
        unet = whole_unet()
        with torch.no_grad(), capturing(unet, find_taps(unet)) as capture:
            unet(latents.clone(), torch.tensor([400]), context.clone())
        features = capture.features(400, "sampling")
        assert segmenter.segment_features(latents, features, ["cat"]).source == "sampling"


def whole_unet() -> UNet:
    with torch.device("meta"):
        unet = UNet(SIZES)
    unet.load_state_dict(unet_state(), assign=True)
    return unet.eval().requires_grad_(False)


def fail(*inputs: object) -> Tensor:
    raise RuntimeError("out of memory")


def compvis_encoder(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """CompVis' class from PyPI's stable-diffusion-sdkit, with the weights of the checkpoint."""
    monkeypatch.setitem(sys.modules, "omegaconf", ModuleType("omegaconf"))
    module = pytest.importorskip(
        "ldm.modules.diffusionmodules.model",
        reason="stable-diffusion-sdkit is not installed (pip install --no-deps)",
    )
    encoder: nn.Module = module.Encoder(
        ch=VAE_CHANNELS[0],
        out_ch=3,
        ch_mult=[channels // VAE_CHANNELS[0] for channels in VAE_CHANNELS],
        num_res_blocks=2,
        attn_resolutions=[],
        in_channels=3,
        resolution=64,
        z_channels=4,
    )
    state = {n.removeprefix("encoder."): t for n, t in vae_state().items() if "encoder." in n}
    encoder.load_state_dict(state, strict=True)
    return encoder.eval()
