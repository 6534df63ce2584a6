"""Masks of what a sampler has painted, on the miniature's real weights: captured or probed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ldznet_core import Segmenter, load_head, load_miniature

from .calling import call, lines
from .loading import Pack
from .studio import PLACES, Euler, guider, run

PRESENT = ["red car", "grass", "sky"]
SIDE = 128


@pytest.fixture(scope="module")
def library() -> Segmenter:
    """The same parts without any host; passes as large as the nodes', to round alike."""
    return Segmenter(load_miniature(), load_head("miniature"), phrases_per_pass=4)


@pytest.fixture(scope="module")
def samples(loaded: SimpleNamespace, image: Tensor) -> dict[str, Tensor]:
    """The scene as a LATENT that no sampler made."""
    return {"samples": loaded.vae.encode(image)}


@pytest.fixture
def bank(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bank in the place of the process's own."""
    bank = pack.module("nodes.bank").Bank()
    for module in ("nodes.segment", "nodes.capture"):
        monkeypatch.setattr(pack.module(module), "BANK", bank)
    return bank


@pytest.fixture
def sampled(bank: Any, nodes: dict[str, Any], parts: dict[str, Any]) -> Any:
    """Sample two pictures at these timesteps behind LDZNetCapture, as a LATENT."""
    heard = call(nodes["LDZNetCapture"], model=parts["model"]).model

    def latent(
        timesteps: tuple[int, ...] = (900, 700, 410, 200), **options: Any
    ) -> dict[str, Tensor]:
        texts = ("a red car in a meadow", "")
        clip = parts["clip"]
        conds = [[[clip.encode_from_tokens(clip.tokenize(text)), {}]] for text in texts]
        made = run(guider(heard, *conds), timesteps, pictures=2, size=(16, 16), **options)
        return {"samples": made}

    return latent


class TestSources:
    def test_features_that_were_captured_are_read(
        self, segment: Any, library: Segmenter, sampled: Any, bank: Any, parts: dict[str, Any]
    ) -> None:
        latent = sampled()
        answer = segment(latent, lines(*PRESENT), source="sampling")
        for number, picture in enumerate(latent["samples"].split(1)):
            features = bank.get(picture)
            assert features.timestep == 410
            scaled = parts["model"].model.process_latent_in(picture).clone()
            blocks = {block: value.clone() for block, value in features.blocks.items()}
            expected = library.segment_features(scaled, blocks, PRESENT)
            for index in range(len(PRESENT)):
                torch.testing.assert_close(
                    answer.probabilities[index][number],
                    expected.probabilities[index],
                    atol=1e-5,
                    rtol=0,
                )
        assert answer.mask.shape == (2, SIDE, SIDE)

    def test_with_a_vae_the_picture_is_seen_as_it_came_out(
        self, segment: Any, library: Segmenter, sampled: Any, bank: Any, loaded: SimpleNamespace
    ) -> None:
        latent = sampled()
        answer = segment(latent, lines(*PRESENT), source="sampling", vae=loaded.vae)
        first = latent["samples"][:1]
        encoded = loaded.vae.encode(loaded.vae.decode(first))
        seen = loaded.model.model.process_latent_in(encoded).clone()
        blocks = {block: value.clone() for block, value in bank.get(first).blocks.items()}
        expected = library.segment_features(seen, blocks, PRESENT)
        for found, wanted in zip(answer.probabilities, expected.probabilities, strict=True):
            torch.testing.assert_close(found[0], wanted, atol=1e-5, rtol=0)
        without = segment(latent, lines(*PRESENT), source="sampling")
        assert not torch.allclose(answer.probabilities[0], without.probabilities[0], atol=1e-3)

    @pytest.mark.parametrize("source", ["sampling", "probe"])
    def test_where_noise_is_left_the_sampler_s_estimate_is_read(
        self, segment: Any, sampled: Any, parts: dict[str, Any], source: str
    ) -> None:
        """As KSampler Advanced leaves it, for another to go on."""
        estimates: list[Tensor] = []
        latent = sampled(
            (900, 700, 410), last=200, callback=lambda step, x0, x, n: estimates.append(x0)
        )
        noisy = latent["samples"][:1]
        clean = parts["model"].model.process_latent_out(estimates[-1][:1])
        assert not torch.allclose(noisy, clean, atol=0.1)
        answer = segment({"samples": noisy}, lines(*PRESENT), source=source)
        assert answer.report.splitlines()[-1].startswith("the latent still has noise: masks are of")
        expected = segment({"samples": clean}, lines(*PRESENT), source=source)
        assert torch.equal(answer.probabilities[0], expected.probabilities[0])
        finished = segment(sampled(), lines(*PRESENT), source=source)
        assert "noise" not in finished.report

    def test_no_pass_is_made_for_them(
        self, monkeypatch: pytest.MonkeyPatch, segment: Any, sampled: Any, parts: dict[str, Any]
    ) -> None:
        latent = sampled()
        passes: list[int] = []
        unet = parts["model"].model.diffusion_model
        watch = unet.time_embed.register_forward_hook(lambda *args: passes.append(1))
        try:
            segment(latent, "red car")
            assert passes == []
            segment(latent, "red car", source="probe")
            assert passes == [1, 1]
        finally:
            watch.remove()

    def test_auto_takes_them_and_probe_does_not(self, segment: Any, sampled: Any) -> None:
        latent = sampled()
        auto, sampling, probe = (
            segment(latent, "red car", source=source) for source in ("auto", "sampling", "probe")
        )
        assert torch.equal(auto.probabilities[0], sampling.probabilities[0])
        assert not torch.allclose(auto.probabilities[0], probe.probabilities[0], atol=1e-3)
        assert "features: captured while sampling at t = 410" in auto.report
        assert "features: from one extra pass (probe) at t = 400" in probe.report
        assert "because" not in probe.report

    def test_of_a_batch_each_picture_has_the_features_that_it_has(
        self, segment: Any, sampled: Any, samples: dict[str, Tensor]
    ) -> None:
        mixed = {"samples": torch.cat([samples["samples"], sampled()["samples"][1:]])}
        told = segment(mixed, "red car").report.split("\n\n")
        assert told[0].startswith("picture 1\nred car: found, score ")
        assert "(probe)" in told[0]
        assert told[1].startswith("picture 2\n")
        assert "captured while sampling" in told[1]

    def test_the_report_points_out_commas_in_the_one_phrase_that_is_not_there(
        self, segment: Any, sampled: Any
    ) -> None:
        hint = "hint: commas do not separate phrases: write one phrase per line"
        latent = sampled()
        assert hint in segment(latent, "hamburger, owl").report.splitlines()
        assert hint not in segment(latent, lines("hamburger", "owl")).report

    def test_a_picture_nobody_sampled_is_probed_and_the_report_says_why(
        self, segment: Any, bank: Any, samples: dict[str, Tensor]
    ) -> None:
        answer = segment(samples, "red car")
        told = answer.report.splitlines()
        assert told[1] == (
            "features: from one extra pass (probe) at t = 400, because no sampler returned these "
            "very latents after LD-ZNet Capture"
        )

    def test_a_missed_window_is_told_with_its_timesteps(self, segment: Any, sampled: Any) -> None:
        told = segment(sampled((900, 200)), "red car").report
        assert "(probe) at t = 400, because sampling made no pass at a timestep from 300" in told
        assert "(it made 900, 200)" in told

    def test_where_only_captured_features_will_do_their_absence_is_a_sentence(
        self, input_error: type[Exception], segment: Any, sampled: Any, samples: dict[str, Tensor]
    ) -> None:
        for latent, because in [
            (samples, "because no sampler returned these very latents"),
            (sampled((900, 200)), r"because .* \(it made 900, 200\)"),
        ]:
            with pytest.raises(input_error, match=f"{because}.*: choose the source auto or probe"):
                segment(latent, "red car", source="sampling")


class TestLatents:
    def test_negatives_threshold_and_edges_are_heeded_here_too(
        self, segment: Any, bank: Any, samples: dict[str, Tensor]
    ) -> None:
        plain = segment(samples, "red car")
        assert not segment(samples, "red car", negative_phrases="red car").mask.any()
        areas = [
            float(segment(samples, "red car", **options).mask.sum())
            for options in ({"threshold": 0.95}, {"threshold": 0.05}, {"grow": 3})
        ]
        assert areas[0] < plain.mask.sum() < min(areas[1:])
        soft = segment(samples, "red car", feather=3).mask
        assert ((soft > 0) & (soft < 1)).any()

    @pytest.mark.parametrize("size", [(5, 9), (1, 1), (16, 24)])
    def test_latents_of_any_size_have_masks_of_eight_times_it(
        self, segment: Any, bank: Any, size: tuple[int, int]
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        latents = {"samples": torch.randn(1, 4, *size, generator=generator)}
        answer = segment(latents, "red car")
        assert answer.mask.shape == (1, 8 * size[0], 8 * size[1])

    def test_the_latents_stay_as_they_were(
        self, segment: Any, bank: Any, samples: dict[str, Tensor]
    ) -> None:
        before = samples["samples"].clone()
        segment(samples, "red car")
        assert torch.equal(samples["samples"], before)

    @pytest.mark.parametrize("source", ["auto", "probe"])
    def test_latents_that_are_no_numbers_are_told_in_a_sentence(
        self, input_error: type[Exception], segment: Any, bank: Any, source: str
    ) -> None:
        spoilt = torch.zeros(1, 4, 8, 8)
        spoilt[0, 2, 1, 1] = float("nan")
        with pytest.raises(input_error, match="got NaN or infinity in the latents"):
            segment({"samples": spoilt}, "red car", source=source)

    @pytest.mark.parametrize("shape", [(1, 16, 5, 8, 8), (1, 64, 256), (0, 4, 8, 8)])
    def test_latents_of_no_picture_are_refused_by_their_shape(
        self, input_error: type[Exception], segment: Any, shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(input_error, match="expected a LATENT of pictures"):
            segment({"samples": torch.zeros(shape)}, "red car")

    def test_latents_of_another_family_are_refused_by_their_channels(
        self, input_error: type[Exception], segment: Any
    ) -> None:
        """Flux has 16."""
        with pytest.raises(
            input_error, match=r"expected the latents of one picture, \(1, 4, h, w\)"
        ):
            segment({"samples": torch.zeros(1, 16, 8, 8)}, "red car")

    def test_forty_phrases_are_answered_as_each_alone(
        self, segment: Any, samples: dict[str, Tensor]
    ) -> None:
        colours = ("red", "green", "blue", "yellow", "old")
        nouns = ("car", "apple", "owl", "ball", "chair", "banana", "tree", "turtle")
        phrases = [f"{colour} {noun}" for colour in colours for noun in nouns]
        part = {"samples": samples["samples"][..., 4:12, 4:12]}  # of 64 pixels, to be quick
        answer = segment(part, lines(*phrases))
        assert len(answer.masks) == len(answer.scores) == len(answer.probabilities) == 40
        for number in (0, 17, 39):
            alone = segment(part, phrases[number])
            torch.testing.assert_close(
                answer.probabilities[number], alone.probabilities[0], atol=1e-4, rtol=0
            )

    def test_masks_made_while_a_sampler_runs_disturb_neither(
        self, nodes: dict[str, Any], segment: Any, bank: Any, samples: Any, loaded: SimpleNamespace
    ) -> None:
        """Even on the very model that is listened to."""
        heard, clip = call(nodes["LDZNetCapture"], model=loaded.model).model, loaded.clip
        cond = [[clip.encode_from_tokens(clip.tokenize("a red car")), {}]]
        inside: list[Tensor] = []

        def look(step: int) -> None:
            if step == 1:
                inside.append(segment(samples, "red car", model=heard).probabilities[0])

        alone = segment(samples, "red car").probabilities[0]
        without = run(guider(heard, cond, cond), (900, 410))
        features = bank.get(without)
        disturbed = run(guider(heard, cond, cond), (900, 410), sampler=Euler(look))
        assert torch.equal(inside[0], alone)
        assert torch.equal(disturbed, without)
        again = bank.get(disturbed)
        assert again is not features
        assert all(torch.equal(again.blocks[block], features.blocks[block]) for block in PLACES)
