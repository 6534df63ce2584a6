"""Models that name their noise levels otherwise than by a thousand timesteps: EDM's, and flows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ldznet_core import capturing, find_taps
from ldznet_core.capture import EARLY
from ldznet_core.noise import NoiseSchedule
from ldznet_core.probe import probe_noise

from .calling import call
from .loading import Pack
from .studio import (
    NEAREST,
    SCHEDULE,
    TEXTS,
    Euler,
    assert_same_features,
    guider,
    run,
    seen_at,
    tiny_model,
)

NOISE = NoiseSchedule()
SCALE = 2.0
"""By which the latents of `edm` differ from the VAE's."""


def edm(data: float = 0.5) -> Any:
    """A tiny MODEL after ComfyUI's node ModelSamplingContinuousEDM, which patches two objects."""
    from comfy.latent_formats import LatentFormat
    from comfy.model_sampling import ModelSamplingContinuousEDM

    model = tiny_model()
    model.add_object_patch("model_sampling", ModelSamplingContinuousEDM(data=data))
    latent_format = LatentFormat()
    latent_format.scale_factor = SCALE
    model.add_object_patch("latent_format", latent_format)
    return model


def told(timestep: float, data: float = 0.5) -> float:
    """What EDM tells its UNet where there is as much noise as at a timestep: a fourth of a log."""
    return float((data * NOISE.sigma(timestep)).log() / 4)


def features_by_hand(model: Any, noisy: Tensor, timestep: float, text: str) -> Any:
    """What the taps give, the UNet fed as EDM feeds it (arXiv 2206.00364, table 1)."""
    unet = model.model.diffusion_model
    scale = (0.5**2 * (float(NOISE.sigma(timestep)) ** 2 + 1)) ** 0.5
    with torch.inference_mode(), capturing(unet, find_taps(unet)) as capture:
        unet(noisy / scale, torch.tensor([told(timestep)]), TEXTS.encode_text([text]))
    return capture.features(timestep, "probe")


@pytest.fixture
def levels(pack: Pack) -> Any:
    return pack.module("nodes.levels")


class TestTimesteps:
    def test_of_a_model_that_counts_a_thousand_are_its_own(self, levels: Any, plain: Any) -> None:
        own = plain.get_model_object("model_sampling")
        for timestep in (0.0, 99.5, 400.0, 999.0):
            sigma = levels.sigma_of(own, timestep)
            assert torch.equal(sigma, own.sigma(torch.tensor([timestep])))
            assert levels.timestep_of(own, sigma) == int(own.timestep(sigma))

    @pytest.mark.parametrize("data", [0.5, 1.0])
    @pytest.mark.parametrize("timestep", [1, 100, 400, 900])
    def test_of_edm_are_where_stable_diffusion_has_as_much_noise(
        self, levels: Any, data: float, timestep: int
    ) -> None:
        sampling = edm(data).get_model_object("model_sampling")
        sigma = data * NOISE.sigma(timestep).reshape(1)
        assert levels.timestep_of(sampling, sigma) == timestep
        torch.testing.assert_close(levels.sigma_of(sampling, float(timestep)), sigma)

    @pytest.mark.parametrize("shift", [1.0, 3.0])
    @pytest.mark.parametrize("timestep", [100.0, 400.0])
    def test_of_a_flow_with_a_shift_are_what_its_unet_is_told(
        self, levels: Any, shift: float, timestep: float
    ) -> None:
        """As ComfyUI's node ModelSamplingSD3 sets it, for SDXL models that were trained anew."""
        from comfy.model_sampling import ModelSamplingDiscreteFlow

        sampling = ModelSamplingDiscreteFlow(shift)
        sigma = levels.sigma_of(sampling, timestep)
        assert float(sampling.timestep(sigma)) == pytest.approx(timestep)
        assert levels.timestep_of(sampling, sigma) == pytest.approx(timestep)

    def test_more_noise_than_stable_diffusion_knows_is_its_last(self, levels: Any) -> None:
        sampling = edm().get_model_object("model_sampling")
        assert levels.timestep_of(sampling, torch.tensor([80.0])) == 999


class TestEDM:
    @pytest.mark.parametrize("timestep", [100.0, 400.0])
    def test_a_probe_has_the_noise_of_that_timestep(self, pack: Pack, timestep: float) -> None:
        model, latents = edm(), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
        found = pack.module("nodes.probing").probe(
            model, latents, TEXTS.encode_text(["a cat"]), timestep
        )
        noisy = latents + 0.5 * float(NOISE.sigma(timestep)) * probe_noise(latents, None)
        expected = features_by_hand(model, noisy, timestep, "a cat")
        assert (found.timestep, found.source) == (timestep, "probe")
        assert_same_features(found, expected.blocks)

    def test_a_latent_is_scaled_as_it_will_be_sampled(self, pack: Pack) -> None:
        model = edm()
        model.model.model_config.unet_config["context_dim"] = 768
        backbone = pack.module("nodes.backbone").ComfyBackbone(model, SimpleClip())
        latents = torch.randn(1, 4, 2, 2)
        assert torch.equal(backbone.scaled(latents), SCALE * latents)

    def test_a_run_is_heard_where_its_noise_is_that_of_the_window(
        self, pack: Pack, bank: Any
    ) -> None:
        model = pack.module("nodes.sampling").with_capture(edm(), bank)
        sampler, timesteps = Euler(), [told(each) for each in SCHEDULE]
        seen = bank.seen(run(guider(model), timesteps, sampler=sampler))
        found = seen.features(EARLY)
        assert (found.timestep, found.source) == (NEAREST, "sampling")
        noisy = seen_at(sampler, NEAREST)
        assert_same_features(
            seen.features(EARLY), features_by_hand(model, noisy, NEAREST, "a cat").blocks
        )
        assert seen.difference.isfinite().all()
        assert float(seen.difference.max()) > 0


class TestFlows:
    """Some nodes set any MODEL to sample as Flux does."""

    @pytest.fixture
    def flow(self, plain: Any) -> Any:
        from comfy.model_sampling import ModelSamplingFlux

        model = plain.clone()
        model.model.model_config.unet_config["context_dim"] = 768
        model.add_object_patch("model_sampling", ModelSamplingFlux())
        return model

    def test_are_refused_in_a_sentence_by_capture_and_by_what_makes_masks(
        self, pack: Pack, nodes: dict[str, Any], flow: Any
    ) -> None:
        error = pack.module("ldznet_core").UnsupportedModelError
        sentence = "set to sample as Flux or AuraFlow: connect the MODEL from before the node"
        with pytest.raises(error, match=sentence):
            call(nodes["LDZNetCapture"], model=flow)
        with pytest.raises(error, match=sentence):
            pack.module("nodes.backbone").ComfyBackbone(flow, SimpleClip())


class SimpleClip:
    """A CLIP of which nothing is asked."""

    def clone(self) -> SimpleClip:
        return self

    def clip_layer(self, layer_idx: int | None) -> None:
        pass
