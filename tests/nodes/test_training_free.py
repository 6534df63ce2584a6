"""Masks without a trained head in the nodes: probed, captured while sampling, and refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.capture import AIMS, EARLY, LATE
from ldznet_core.world import Scene, all_phrases, mask_of

from .calling import call, lines
from .loading import Pack
from .studio import TEXTS, Euler, guider, hooks_of, run, seen_at, tiny_model

HEARD = "features: attention captured while sampling at t = 110"
PROBED = "features: attention from one extra pass (probe) at t = 100"
NOT_TOLD = "LD-ZNet Capture did not listen for attention (connect this head to it)"

SCHEDULE, NEAREST = (900, 410, 110), 110
"""Timesteps; attention is read at the last."""

TRANSFORMERS = {
    3: "input_blocks.4.1",
    11: "output_blocks.6.1",
    12: "output_blocks.7.1",
    13: "output_blocks.8.1",
}
"""The miniature's blocks that are read, as written down for ComfyUI's UNet."""

MODULES = {"links.query": "attn1.to_q", "links.key": "attn1.to_k", "words.query": "attn2.to_q"}


def iou(ours: Tensor, theirs: Tensor) -> float:
    both = torch.minimum(ours, theirs).sum()
    return float(both / torch.maximum(ours, theirs).sum().clamp_min(1e-6))


@pytest.fixture(scope="module")
def free(nodes: dict[str, Any]) -> Any:
    """What the loader gives for no head."""
    return call(nodes["LDZNetLoadHead"], head_name="training-free").head


@pytest.fixture(scope="module")
def library() -> Segmenter:
    return Segmenter(load_miniature(), load_head("training-free"), phrases_per_pass=4)


@pytest.fixture
def taps_of(pack: Pack) -> Any:
    """Finds the miniature's attention, and the taps of heads."""
    return pack.module("nodes.capture")._taps_of("miniature", [*range(6, 11)], attention=True)


@pytest.fixture
def listened(nodes: dict[str, Any], loaded: SimpleNamespace) -> Any:
    """The miniature's MODEL after Capture with attention."""
    return call(nodes["LDZNetCapture"], model=loaded.model, attention=True).model


def sampled(model: Any, clip: Any, seed: int = 0, **options: Any) -> dict[str, Tensor]:
    """A LATENT of the miniature, of a red car in a meadow."""
    texts = [clip.encode_from_tokens(clip.tokenize(text)) for text in ("a red car", "")]
    positive, negative = ([[text, {}]] for text in texts)
    made = guider(model, positive, negative)
    return {"samples": run(made, SCHEDULE, seed=seed, **{"size": (16, 16), **options})}


def attention_by_hand(unet: nn.Module, x: Tensor, text: str) -> dict[tuple[int, str], Tensor]:
    """What the layers give for noisy latents ``(1, 4, h, w)``, by hooks of the test's own."""
    found: dict[tuple[int, str], Tensor] = {}

    def hook(key: tuple[int, str]) -> Any:
        return lambda module, inputs, output: found.update({key: output.clone()})

    handles = [
        unet.get_submodule(f"{name}.transformer_blocks.0.{module}").register_forward_hook(
            hook((block, part))
        )
        for block, name in TRANSFORMERS.items()
        for part, module in MODULES.items()
    ]
    sigma = tiny_model().get_model_object("model_sampling").sigma(torch.tensor([NEAREST]))
    with torch.inference_mode():
        scaled = x / (sigma**2 + 1) ** 0.5
        unet(scaled, torch.tensor([float(NEAREST)]), TEXTS.encode_text([text]))
    for handle in handles:
        handle.remove()
    return found


class TestTheLoader:
    def test_it_is_offered_beside_the_built_in_heads(self, nodes: dict[str, Any]) -> None:
        options = nodes["LDZNetLoadHead"].GET_SCHEMA().inputs[0].options
        assert options[:4] == ["auto", "miniature-compact", "miniature", "training-free"]

    def test_it_is_loaded_once_and_for_all(self, nodes: dict[str, Any]) -> None:
        fingerprint = nodes["LDZNetLoadHead"].fingerprint_inputs
        assert fingerprint("training-free") == fingerprint("training-free")


class TestAPicture:
    def test_its_masks_are_the_library_s(
        self, segment_image: Any, free: Any, library: Segmenter, scene: Scene, image: Tensor
    ) -> None:
        phrases = ["red car", "meadow", "owl"]
        expected = library.segment_image(Image.fromarray(scene.image), phrases)
        answer = segment_image(image, lines(*phrases), head=free)
        for ours, theirs in zip(answer.probabilities, expected.probabilities, strict=True):
            torch.testing.assert_close(ours[0], theirs, atol=1e-2, rtol=0)
        torch.testing.assert_close(answer.scores, list(expected.scores), atol=1e-2, rtol=0)

    def test_what_is_there_is_found_and_what_is_not_is_not(
        self, segment_image: Any, free: Any, scene: Scene, image: Tensor
    ) -> None:
        truths = {phrase.text: phrase for phrase in all_phrases(scene.layout, scene.labels)}
        truth = torch.from_numpy(mask_of(scene.labels, truths["red car"].regions)).float()
        answer = segment_image(image, lines("red car", "turtle"), head=free)
        assert iou(answer.masks[0][0], truth) > 0.5
        assert float(answer.masks[1].sum()) == 0
        assert answer.scores[0] > 0.5 > answer.scores[1]
        assert answer.report.splitlines()[-1] == PROBED


class TestCapture:
    def test_what_is_kept_is_what_the_prompt_s_row_gave_in_half_precision(
        self, pack: Pack, plain: Any, unet: nn.Module, bank: Any, taps_of: Any
    ) -> None:
        sampler = Euler()
        model = pack.module("nodes.sampling").with_capture(plain, bank, taps_of)
        latents = run(guider(model), SCHEDULE, sampler=sampler, size=(16, 16))
        kept = bank.get(latents, LATE)
        assert (kept.timestep, kept.source) == (NEAREST, "sampling")
        expected = attention_by_hand(unet, seen_at(sampler, NEAREST, SCHEDULE), "a cat")
        places = {tuple(key): key for key in kept.blocks if not isinstance(key, int)}
        words = {(block, "words.query") for block in TRANSFORMERS}
        links = {(b, part) for b in (12, 13) for part in ("links.query", "links.key")}
        assert set(places) == words | links
        for name, key in places.items():
            assert kept.blocks[key].dtype == torch.float16
            scale = float(expected[name].std())
            torch.testing.assert_close(
                kept.blocks[key].float(), expected[name], atol=2e-3 * scale, rtol=2e-3
            )

    def test_heads_find_their_features_beside_it_as_ever(
        self, pack: Pack, plain: Any, bank: Any, taps_of: Any
    ) -> None:
        with_capture = pack.module("nodes.sampling").with_capture
        latents = run(guider(with_capture(plain, bank)), SCHEDULE)
        alone = {aim: bank.get(latents, aim) for aim in AIMS}
        run(guider(with_capture(plain, bank, taps_of)), SCHEDULE)
        for aim, features in alone.items():
            beside = bank.get(latents, aim)
            assert beside.timestep == features.timestep == (410 if aim == EARLY else NEAREST)
            assert all(torch.equal(beside.blocks[n], each) for n, each in features.blocks.items())
            assert len(features.blocks) == 5
            assert (len(beside.blocks) > 5) == (aim == LATE)  # attention is read of that alone

    def test_the_bank_counts_it(self, pack: Pack, plain: Any, bank: Any, taps_of: Any) -> None:
        run(guider(pack.module("nodes.sampling").with_capture(plain, bank)), SCHEDULE)
        without = bank.used_bytes
        run(guider(pack.module("nodes.sampling").with_capture(plain, bank, taps_of)), SCHEDULE)
        width, positions = 64, 16  # of 8x8 latents
        values = len(TRANSFORMERS) * width * positions  # words
        values += 2 * 2 * width * positions  # links: two blocks, with queries and keys
        assert bank.used_bytes == without + 2 * values

    def test_the_picture_stays_the_same_bit_for_bit(
        self, loaded: SimpleNamespace, listened: Any
    ) -> None:
        painted = [sampled(model, loaded.clip) for model in (loaded.model, listened)]
        assert torch.equal(painted[0]["samples"], painted[1]["samples"])

    def test_an_error_in_the_unet_leaves_no_hook_and_no_features(
        self, pack: Pack, plain: Any, unet: nn.Module, bank: Any, taps_of: Any
    ) -> None:
        def fail(module: nn.Module, inputs: Any) -> None:
            raise RuntimeError("out of memory")

        model = pack.module("nodes.sampling").with_capture(plain, bank, taps_of)
        failing = unet.get_submodule("output_blocks.8").register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            run(guider(model), SCHEDULE)
        failing.remove()
        assert (len(bank), hooks_of(unet)) == (0, 0)

    def test_pictures_cut_into_tiles_inside_the_unet_are_given_up_in_words(
        self, pack: Pack, plain: Any, unet: nn.Module, bank: Any, taps_of: Any
    ) -> None:
        """As HyperTile does it: a row of self-attention is a tile, and no picture."""

        def cut(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            tiles: Tensor = output.reshape(2 * len(output), -1, output.shape[-1])
            return tiles

        def join(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (inputs[0].reshape(len(inputs[0]) // 2, -1, inputs[0].shape[-1]),)

        layer = unet.get_submodule("output_blocks.7.1.transformer_blocks.0.attn1")
        handles = [
            layer.get_submodule(name).register_forward_hook(cut)
            for name in ("to_q", "to_k", "to_v")
        ]
        handles.append(layer.get_submodule("to_out").register_forward_pre_hook(join))
        model = pack.module("nodes.sampling").with_capture(plain, bank, taps_of)
        latents = run(guider(model), SCHEDULE)
        for handle in handles:
            handle.remove()
        assert "such as HyperTile" in bank.get(latents, LATE).reason


class TestSegment:
    PHRASES = lines("red car", "meadow", "owl")

    def segmented(self, segment: Any, samples: Any, **options: Any) -> SimpleNamespace:
        answer: SimpleNamespace = segment(samples, self.PHRASES, **options)
        return answer

    def test_it_reads_what_was_captured(
        self, segment: Any, loaded: SimpleNamespace, listened: Any, free: Any
    ) -> None:
        answer = self.segmented(segment, sampled(listened, loaded.clip), head=free)
        assert answer.report.splitlines()[-1] == HEARD
        assert [tuple(mask.shape) for mask in answer.masks] == [(1, 128, 128)] * 3

    def test_the_masks_are_those_of_the_library_for_the_same_features(
        self,
        pack: Pack,
        segment: Any,
        loaded: SimpleNamespace,
        listened: Any,
        free: Any,
        library: Segmenter,
    ) -> None:
        samples = sampled(listened, loaded.clip, seed=4)
        kept = pack.module("nodes.bank").BANK.get(samples["samples"], LATE)
        scaled = loaded.model.model.process_latent_in(samples["samples"])
        expected = library.segment_features(scaled, of_our_core(kept), self.PHRASES.splitlines())
        answer = self.segmented(segment, samples, head=free)
        for ours, theirs in zip(answer.probabilities, expected.probabilities, strict=True):
            torch.testing.assert_close(ours[0], theirs, atol=1e-3, rtol=0)

    @pytest.mark.parametrize("source", ["auto", "sampling"])
    def test_what_was_captured_without_attention_is_told(
        self,
        nodes: dict[str, Any],
        segment: Any,
        loaded: SimpleNamespace,
        free: Any,
        input_error: type[Exception],
        source: str,
    ) -> None:
        heard = call(nodes["LDZNetCapture"], model=loaded.model).model
        samples = sampled(heard, loaded.clip, seed=1)
        if source == "sampling":
            with pytest.raises(
                input_error, match=f"got none, because {re.escape(NOT_TOLD)}: choose"
            ):
                self.segmented(segment, samples, head=free, source=source)
        else:
            answer = self.segmented(segment, samples, head=free)
            assert answer.report.splitlines()[-1] == f"{PROBED}, because {NOT_TOLD}"

    def test_a_connected_head_without_weights_is_listened_for(
        self, nodes: dict[str, Any], segment: Any, loaded: SimpleNamespace, free: Any
    ) -> None:
        heard = call(nodes["LDZNetCapture"], model=loaded.model, head=free).model
        answer = self.segmented(segment, sampled(heard, loaded.clip, seed=3), head=free)
        assert answer.report.splitlines()[-1] == HEARD

    def test_a_trained_head_reads_its_own_of_what_was_captured_with_attention(
        self, segment: Any, loaded: SimpleNamespace, listened: Any
    ) -> None:
        answer = self.segmented(segment, sampled(listened, loaded.clip, seed=2))
        assert answer.report.splitlines()[-1] == HEARD.replace("attention ", "").replace(
            "110", "410"
        )

    def test_a_size_that_a_probe_would_pad_is_read_as_it_was_captured(
        self, pack: Pack, segment: Any, loaded: SimpleNamespace, listened: Any, free: Any
    ) -> None:
        """The stand-in's UNet cannot sample one; the real host's can. So a probe's is cut."""
        backbone = pack.module("nodes.backbone").ComfyBackbone(loaded.model, loaded.clip)
        library = pack.module("ldznet_core.training_free")
        layers, find_places = library.LAYERS["miniature"], library.find_places
        latents = sampled(listened, loaded.clip, seed=5)["samples"][:, :, :12].contiguous()
        probed = backbone.probe(
            backbone.scaled(latents), [""], t=100, taps_of=lambda unet: find_places(unet, layers)
        )
        blocks = {key: each[:, : each.shape[1] * 12 // 16] for key, each in probed.blocks.items()}
        kept = pack.module("ldznet_core").Features(blocks, 110.0, "sampling")
        pack.module("nodes.bank").BANK.put(latents, kept)
        heard = self.segmented(segment, {"samples": latents}, head=free)
        assert heard.report.splitlines()[-1] == HEARD
        assert heard.mask.shape == (1, 96, 128)
        seen = self.segmented(segment, {"samples": latents}, head=free, source="probe")
        assert seen.report.splitlines()[-1] == PROBED
        for ours, theirs in zip(heard.probabilities, seen.probabilities, strict=True):
            assert float((ours - theirs).abs().mean()) < 0.05

    def test_every_picture_of_a_batch_has_its_own(
        self, segment: Any, loaded: SimpleNamespace, listened: Any, free: Any
    ) -> None:
        samples = sampled(listened, loaded.clip, seed=3, pictures=2)
        both = self.segmented(segment, samples, head=free)
        assert both.report.count(HEARD) == 2
        for index in range(2):
            one = {"samples": samples["samples"][index : index + 1]}
            alone = self.segmented(segment, one, head=free)
            assert torch.equal(alone.probabilities[0][0], both.probabilities[0][index])

    def test_without_capture_it_probes(
        self, segment: Any, loaded: SimpleNamespace, free: Any
    ) -> None:
        answer = self.segmented(segment, sampled(loaded.model, loaded.clip, seed=9), head=free)
        assert answer.report.splitlines()[-1].startswith(f"{PROBED}, because no sampler returned")


class TestSDXL:
    """Its two text encoders, of which the stand-in has none."""

    class TwoEncoders:
        def __init__(self, one: Any) -> None:
            self.one = one

        def clone(self) -> Any:
            return self

        def clip_layer(self, layer_idx: int | None) -> None:
            pass

        def tokenize(self, text: str, return_word_ids: bool = False) -> Any:
            tokens = self.one.tokenize(text, return_word_ids)
            return {"g": tokens["l"], "l": tokens["l"]}

        def encode_from_tokens(self, tokens: Any, return_pooled: bool = False) -> Any:
            context = torch.zeros(1, 77, 2048)
            return (context, torch.ones(1, 1280)) if return_pooled else context

    @pytest.fixture
    def backbone(self, pack: Pack, loaded: SimpleNamespace) -> Any:
        from .test_backbone import sdxl_like

        model = tiny_model(sdxl_like(), context_dim=2048)
        two = self.TwoEncoders(loaded.clip)
        return pack.module("nodes.backbone").ComfyBackbone(model, two)

    @pytest.mark.parametrize(
        ("phrases", "counts"), [(["a car", ""], [4, 2]), (["the (red) car"], [7])]
    )
    def test_tokens_are_counted_once(
        self, backbone: Any, phrases: Sequence[str], counts: list[int]
    ) -> None:
        assert backbone.count_tokens(phrases) == counts

    def test_a_probe_brings_the_pooled_text(
        self, pack: Pack, monkeypatch: pytest.MonkeyPatch, backbone: Any
    ) -> None:
        asked: dict[str, Any] = {}
        module = pack.module("nodes.backbone")
        monkeypatch.setattr(module, "probe", lambda *args, **options: asked.update(options))
        backbone.probe(torch.zeros(1, 4, 8, 8), ["a car", ""])
        assert asked["pooled"].shape == (2, 1280)


def test_the_unet_is_loaded_with_its_own_patches_before_its_keys_are_asked_for(
    pack: Pack, loaded: SimpleNamespace
) -> None:
    """It may have been offloaded since it was sampled, or hold another clone's LoRA."""
    from comfy import model_management

    backbone = pack.module("nodes.backbone").ComfyBackbone(loaded.model, loaded.clip)
    model_management.loads.clear()
    assert backbone.unet is loaded.model.model.diffusion_model
    assert [load.models for load in model_management.loads] == [(loaded.model.model,)]


def of_our_core(kept: Any) -> Any:
    """Features of the pack's copy of the core, as those of the copy that tests import."""
    from ldznet_core import Features
    from ldznet_core.training_free import Place

    blocks = {Place(*key): each for key, each in kept.blocks.items() if not isinstance(key, int)}
    return Features(blocks, kept.timestep, kept.source)
