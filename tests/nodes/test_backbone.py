"""The host's MODEL, CLIP and VAE as a backbone: families, phrases as text features, scales."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ldznet_core import load_miniature
from ldznet_core.miniature import Miniature
from ldznet_core.unet import UNet, UNetConfig

from ..core.tiny import TinyBackbone, picture
from .calling import call
from .loading import Pack
from .studio import hooks_of, tiny_model


@pytest.fixture(scope="module")
def backbone(pack: Pack, loaded: SimpleNamespace) -> Any:
    return pack.module("nodes.backbone").ComfyBackbone(loaded.model, loaded.clip, loaded.vae)


@pytest.fixture(scope="module")
def library() -> Miniature:
    """The same weights without any host."""
    return load_miniature()


def sdxl_like() -> nn.Module:
    """As many spatial transformers as SDXL has, in its places; they do nothing."""

    class Transformer(nn.Module):
        transformer_blocks = ()

    unet = nn.Module()
    unet.input_blocks = nn.ModuleList(nn.Sequential(Transformer()) for _ in range(4))
    unet.middle_block = nn.Sequential(Transformer())
    unet.output_blocks = nn.ModuleList(nn.Sequential(Transformer()) for _ in range(6))
    return unet


class TestTheMiniature:
    """Loaded as genuine parts of the host, it is what the library loads."""

    def test_its_unet_is_the_library_s(self, loaded: SimpleNamespace, library: Miniature) -> None:
        ours, theirs = loaded.model.model.diffusion_model.state_dict(), library.unet.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())

    def test_its_sizes_are_told_in_the_host_s_words(
        self, loaded: SimpleNamespace, library: Miniature
    ) -> None:
        """As openaimodel.py of 0.8.0 reads them: a depth for every res block, upwards too."""
        config, sizes = loaded.model.model.model_config.unet_config, library.unet.config
        assert config["transformer_depth"] == [1, 1, 1, 1, 1, 1, 0, 0]
        assert config["transformer_depth_output"] == [1] * 9 + [0] * 3
        assert config["num_res_blocks"] == [2, 2, 2, 2]
        assert config["context_dim"] == sizes.context_dim
        assert (config["num_heads"], config["num_head_channels"]) == (sizes.num_heads, -1)

    def test_its_latents_have_the_vae_s_own_scale_in_a_latent(
        self, backbone: Any, loaded: SimpleNamespace, library: Miniature
    ) -> None:
        factor = library.vae.config.scaling_factor
        assert factor != 1.0
        latents = torch.randn(1, 4, 2, 2)
        torch.testing.assert_close(backbone.scaled(latents), latents * factor)
        assert torch.equal(backbone.scaled(latents), loaded.model.model.process_latent_in(latents))

    def test_every_loading_makes_parts_of_its_own(
        self, pack: Pack, loaded: SimpleNamespace
    ) -> None:
        """Scales and weights of one never reach another."""
        again = call(pack.nodes()["LDZNetLoadMiniature"])
        assert again.model.model is not loaded.model.model
        assert again.model.model.latent_format is not loaded.model.model.latent_format

    def test_the_host_s_own_latent_formats_stay_as_they_were(self, loaded: SimpleNamespace) -> None:
        from comfy.latent_formats import LatentFormat

        assert loaded.model.model.latent_format.scale_factor != 1.0
        assert LatentFormat.scale_factor == LatentFormat().scale_factor == 1.0

    def test_its_text_encoder_says_the_same_of_words_that_it_knows_and_does_not(
        self, backbone: Any, library: Miniature
    ) -> None:
        texts = ["a red car in a meadow", "xylophone quartz", "", "car, " * 20]
        for text in texts:
            torch.testing.assert_close(
                backbone.encode_text([text]), library.encode_text([text]), atol=1e-4, rtol=1e-4
            )

    def test_its_vae_gives_the_same_latents(self, backbone: Any, library: Miniature) -> None:
        image = picture(64, 40)
        torch.testing.assert_close(
            backbone.encode_image(image), library.encode_image(image), atol=1e-4, rtol=1e-4
        )

    def test_its_vae_paints_the_same_picture(
        self, loaded: SimpleNamespace, library: Miniature
    ) -> None:
        latents = torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(0))
        factor = library.vae.config.scaling_factor
        ours = (loaded.vae.decode(latents / factor)[0] * 255).round().numpy()
        theirs = np.asarray(library.decode_image(latents)).astype(float)
        assert np.abs(ours - theirs).max() <= 1


class TestFamilies:
    def test_the_miniature_is_told_by_what_loaded_it(
        self, pack: Pack, loaded: SimpleNamespace
    ) -> None:
        assert pack.module("nodes.backbone").family_of(loaded.model) == "miniature"
        assert pack.module("nodes.backbone").family_of(loaded.model.clone()) == "miniature"

    @pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (1024, "sd2")])
    def test_others_are_told_by_the_width_of_their_text_features(
        self, pack: Pack, width: int, family: str
    ) -> None:
        assert pack.module("nodes.backbone").family_of(tiny_model(context_dim=width)) == family

    def test_a_width_that_no_family_has_is_refused_in_a_sentence(self, pack: Pack) -> None:
        error = pack.module("ldznet_core").UnsupportedModelError
        with pytest.raises(error, match=r"expected a MODEL of SD 1\.x, .* got one for 640: load"):
            pack.module("nodes.backbone").family_of(tiny_model(context_dim=640))

    @pytest.mark.parametrize("channels", [4, 9])
    def test_inpainting_checkpoints_are_of_their_family(self, pack: Pack, channels: int) -> None:
        model = tiny_model(context_dim=768)
        model.model.model_config.unet_config["in_channels"] = channels
        assert pack.module("nodes.backbone").family_of(model) == "sd1"

    @pytest.mark.parametrize("channels", [5, 7, 8])
    def test_what_is_told_another_picture_is_refused(self, pack: Pack, channels: int) -> None:
        """Depth has 5, the enlarger of SD 2.x 7, Zero123 and InstructPix2Pix have 8."""
        model = tiny_model(context_dim=768)
        model.model.model_config.unet_config["in_channels"] = channels
        error = pack.module("ldznet_core").UnsupportedModelError
        with pytest.raises(error, match=f"or 9 for inpainting, got one of {channels}"):
            pack.module("nodes.backbone").family_of(model)

    def test_what_is_told_more_than_text_is_refused(self, pack: Pack) -> None:
        """As unCLIP and Lotus are, of SD 2.x; SDXL itself is told sizes that way."""
        unet = TinyBackbone().unet
        unet.label_emb = nn.Linear(1, 1)
        error = pack.module("ldznet_core").UnsupportedModelError
        with pytest.raises(error, match="by text alone, got one that wants a picture too"):
            pack.module("nodes.backbone").family_of(tiny_model(unet, context_dim=1024))

    def test_sdxl_is_told_by_its_layout_and_width_and_its_refiner_is_refused(
        self, pack: Pack
    ) -> None:
        family_of = pack.module("nodes.backbone").family_of
        assert family_of(tiny_model(sdxl_like(), context_dim=2048)) == "sdxl"
        error = pack.module("ldznet_core").UnsupportedModelError
        with pytest.raises(error, match=r"or SDXL, .* got one for 1280: load"):
            family_of(tiny_model(sdxl_like(), context_dim=1280))

    def test_sdxl_is_refused_to_trained_heads(
        self, pack: Pack, nodes: dict[str, Any], parts: dict[str, Any]
    ) -> None:
        sdxl = tiny_model(sdxl_like(), context_dim=2048)
        error = pack.module("ldznet_core").UnsupportedModelError
        samples = {"samples": torch.zeros(1, 4, 8, 8)}
        asked = {"phrases": "a car", "threshold": 0.5, "source": "auto", "samples": samples}
        with pytest.raises(error, match="for a trained head, got one of SDXL: choose the head"):
            call(nodes["LDZNetSegment"], **{**parts, "model": sdxl}, **asked)
        with pytest.raises(error, match=r"got one of SDXL: .* connect it to LD-ZNet Capture"):
            call(nodes["LDZNetCapture"], model=sdxl, head=parts["head"])

    def test_sdxl_is_captured_without_a_head_for_the_prompt_mask(
        self, nodes: dict[str, Any]
    ) -> None:
        sdxl = tiny_model(sdxl_like(), context_dim=2048)
        heard = call(nodes["LDZNetCapture"], model=sdxl).model
        assert heard.get_wrappers("outer_sample", "ldznet")

    def test_the_capture_node_refuses_it_before_anything_is_sampled(self, pack: Pack) -> None:
        error = pack.module("ldznet_core").UnsupportedModelError
        with pytest.raises(error, match=r"expected the UNet of an SD 1\.x, SD 2\.x or SDXL model"):
            call(pack.nodes()["LDZNetCapture"], model=tiny_model(nn.Sequential(nn.Linear(4, 4))))


class TestPhrases:
    @pytest.mark.parametrize("phrase", ["car (red)", "(red car:1.5)", "((car))", ":) car"])
    def test_brackets_are_signs_not_emphasis(
        self, backbone: Any, library: Miniature, phrase: str
    ) -> None:
        torch.testing.assert_close(
            backbone.encode_text([phrase]), library.encode_text([phrase]), atol=1e-4, rtol=1e-4
        )

    def test_the_stand_in_would_have_heard_emphasis(self, loaded: SimpleNamespace) -> None:
        tokens = loaded.clip.tokenize("a (red:1.5) car")["l"][0]
        assert [weight for _, weight in tokens[:5]] == [1.0, 1.0, 1.5, 1.0, 1.0]

    def test_each_has_a_row_whatever_its_company(self, backbone: Any) -> None:
        together = backbone.encode_text(["a car", "the sky", "a car"])
        assert together.shape == (3, 77, 128)
        assert torch.equal(together[0], together[2])
        assert torch.equal(together[1:2], backbone.encode_text(["the sky"]))

    def test_seventy_seven_tokens_are_read_and_one_more_is_refused(
        self, backbone: Any, library: Miniature, input_error: type[Exception]
    ) -> None:
        longest = " ".join(["car"] * 75)
        torch.testing.assert_close(
            backbone.encode_text([longest]), library.encode_text([longest]), atol=1e-4, rtol=1e-4
        )
        with pytest.raises(input_error, match="at most 77 tokens, got 78"):
            backbone.encode_text([f"{longest} car"])

    @pytest.mark.parametrize(
        ("phrase", "named"),
        [
            ("embedding:gone", "embedding:gone"),
            ("a red car embedding:gone", "embedding:gone"),
            ("embedding:gone, on a beach", "embedding:gone"),
        ],
    )
    def test_one_that_the_host_would_leave_out_is_refused(
        self, backbone: Any, input_error: type[Exception], phrase: str, named: str
    ) -> None:
        sentence = f"expected a phrase of words that the CLIP can read, got '{named}', of which"
        with pytest.raises(input_error) as told:
            backbone.encode_text([phrase])
        assert str(told.value).startswith(sentence)

    @pytest.mark.parametrize("phrase", ["", "an embedding: of wood", "a car, red", "?"])
    def test_no_other_is(self, backbone: Any, phrase: str) -> None:
        assert backbone.encode_text([phrase]).isfinite().all()

    def test_a_clip_of_another_model_is_told_by_its_width(
        self, pack: Pack, loaded: SimpleNamespace, input_error: type[Exception]
    ) -> None:
        model = tiny_model(context_dim=768)
        backbone = pack.module("nodes.backbone").ComfyBackbone(model, loaded.clip)
        with pytest.raises(input_error, match=r"features of width 768, .* got 128: connect"):
            backbone.encode_text(["a car"])

    def test_a_clip_of_two_encoders_is_told_by_its_width_however_long_the_phrase(
        self, pack: Pack, loaded: SimpleNamespace, input_error: type[Exception]
    ) -> None:
        """As SDXL's is, whose tokens come twice; forty words are none too many."""

        class TwoEncoders:
            def clone(self) -> TwoEncoders:
                return self

            def clip_layer(self, layer_idx: int | None) -> None:
                pass

            def tokenize(self, text: str, return_word_ids: bool = False) -> Any:
                tokens = loaded.clip.tokenize(text, return_word_ids)
                return {"g": tokens["l"], "l": tokens["l"]}

            def encode_from_tokens(self, tokens: Any) -> Tensor:
                return torch.zeros(1, 77, 2048)

        model = tiny_model(context_dim=768)
        backbone = pack.module("nodes.backbone").ComfyBackbone(model, TwoEncoders())
        for words in (1, 40):
            with pytest.raises(input_error, match=r"width 768, .* got 2048: connect the CLIP"):
                backbone.encode_text([" ".join(["car"] * words)])


class TestManners:
    def test_nothing_that_a_workflow_has_loaded_is_changed(
        self, pack: Pack, loaded: SimpleNamespace
    ) -> None:
        loaded.clip.clip_layer(-2)
        try:
            made = pack.module("nodes.backbone").ComfyBackbone(loaded.model, loaded.clip)
            made.encode_text(["a car"])
            assert loaded.clip.layer_idx == -2
        finally:
            loaded.clip.clip_layer(None)
        assert loaded.model.wrappers == {}
        assert hooks_of(loaded.model.model.diffusion_model) == 0

    def test_a_picture_without_a_vae_is_refused_in_a_sentence(
        self, pack: Pack, loaded: SimpleNamespace, input_error: type[Exception]
    ) -> None:
        backbone = pack.module("nodes.backbone").ComfyBackbone(loaded.model, loaded.clip)
        with pytest.raises(input_error, match="expected a VAE for a picture, got none"):
            backbone.encode_image(Image.new("RGB", (16, 16)))

    def test_its_probe_is_the_library_s(self, backbone: Any, library: Miniature) -> None:
        latents = torch.randn(1, 4, 5, 9, generator=torch.Generator().manual_seed(0))
        ours, theirs = (each.probe(latents, ["a car", "sky"]) for each in (backbone, library))
        for block, expected in theirs.blocks.items():
            scale = float(expected.std())
            torch.testing.assert_close(ours.blocks[block], expected, atol=1e-3 * scale, rtol=1e-3)


def test_the_stand_in_s_unet_and_the_tiny_one_are_of_one_make() -> None:
    """So that what is learnt on one holds for the other."""
    sizes = UNetConfig(model_channels=32, context_dim=64, num_heads=4)
    assert UNet(sizes).state_dict().keys() == TinyBackbone().unet.state_dict().keys()
