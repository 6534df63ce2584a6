"""The mask of a whole prompt, on the miniature's real weights; and what is said where none is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ldznet_core.training_free.whole_prompt import THRESHOLD, segment_prompt

from .calling import call
from .loading import Pack
from .studio import guider, run

TIMESTEPS = (949, 849, 749, 649, 549, 449, 349, 249, 149, 49)


@pytest.fixture(scope="module")
def paint(nodes: dict[str, Any], loaded: SimpleNamespace) -> Any:
    """Sample a red car in a meadow behind LDZNetCapture, as a LATENT."""
    heard = call(nodes["LDZNetCapture"], model=loaded.model).model

    def latent(cfg: float = 5.0, size: tuple[int, int] = (16, 16), **options: Any) -> Any:
        clip = loaded.clip
        texts = ("a red car in a meadow", "")
        conds = [[[clip.encode_from_tokens(clip.tokenize(text)), {}]] for text in texts]
        made = guider(heard, *conds, cfg=cfg)
        return {"samples": run(made, TIMESTEPS, size=size, **options)}

    return latent


@pytest.fixture(scope="module")
def samples(paint: Any) -> dict[str, Tensor]:
    """Two pictures."""
    latent: dict[str, Tensor] = paint(pictures=2)
    return latent


@pytest.fixture(scope="module")
def masked(nodes: dict[str, Any]) -> Any:
    """LDZNetPromptMask."""

    def mask(samples: Any, threshold: float = THRESHOLD, **options: Any) -> SimpleNamespace:
        return call(nodes["LDZNetPromptMask"], samples=samples, threshold=threshold, **options)

    return mask


class TestMasks:
    def test_each_picture_has_the_library_s_mask_of_what_its_run_showed(
        self, pack: Pack, samples: Any, masked: Any
    ) -> None:
        answer = masked(samples)
        assert answer.mask.shape == (2, 128, 128)
        for number in range(2):
            picture = samples["samples"][number : number + 1]
            seen = pack.module("nodes.bank").BANK.seen(picture)
            expected = segment_prompt(seen.difference)
            assert torch.equal(answer.mask[number], expected.masks[0])
            light = answer.heatmap[number].amax(dim=-1)
            torch.testing.assert_close(light, expected.probabilities[0])
        assert not torch.equal(answer.mask[0], answer.mask[1])

    def test_it_covers_the_car_and_not_everything(
        self, samples: Any, masked: Any, segment: Any
    ) -> None:
        mask = masked(samples).mask
        car = segment(samples, "the red car").mask
        assert car.flatten(1).any(dim=1).all()
        inside = (mask * car).sum() / car.sum()
        outside = (mask * (1 - car)).sum() / (1 - car).sum()
        assert float(inside) > 0.5 > 2 * float(outside)

    def test_a_lower_threshold_takes_in_more(self, samples: Any, masked: Any) -> None:
        sizes = [float(masked(samples, t).mask.sum()) for t in (0.1, 0.35, 0.7)]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > sizes[-1]

    def test_edges_grow_and_fade(self, samples: Any, masked: Any) -> None:
        plain, grown = masked(samples).mask, masked(samples, grow=8).mask
        assert torch.equal(torch.maximum(plain, grown), grown)
        assert float(grown.sum()) > float(plain.sum())
        faded = masked(samples, feather=4).mask
        assert ((faded > 0) & (faded < 1)).any()

    def test_sides_that_are_no_multiples_of_64_are_as_good(self, pack: Pack, masked: Any) -> None:
        """The stand-in's UNet cannot sample such; the real host's can."""
        bank, latents = pack.module("nodes.bank"), torch.zeros(1, 4, 9, 13)
        difference = torch.rand(9, 13, generator=torch.Generator().manual_seed(0))
        bank.BANK.put(latents, bank.Missing("none"), difference)
        assert masked({"samples": latents}).mask.shape == (1, 72, 104)

    def test_the_heatmap_is_shown_under_the_node(self, samples: Any, masked: Any) -> None:
        assert len(masked(samples).ui["images"]) == 2


class TestCaptureOfNothingElse:
    """As of SDXL, where no head and no attention was asked for."""

    @pytest.fixture
    def only(self, pack: Pack, loaded: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A LATENT of the miniature, listened to in no place; passes may stay compiled."""

        def uncompiled() -> None:
            raise AssertionError("a pass was run uncompiled")

        sampling, bank = pack.module("nodes.sampling"), pack.module("nodes.bank").BANK
        heard = sampling.with_capture(loaded.model, bank, lambda unet: {})
        clip = loaded.clip
        texts = ("a red car in a meadow", "")
        conds = [[[clip.encode_from_tokens(clip.tokenize(text)), {}]] for text in texts]
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "uncompiled", uncompiled)
            return {"samples": run(guider(heard, *conds), TIMESTEPS, size=(16, 16), seed=5)}

    def test_the_mask_is_the_same(self, paint: Any, masked: Any, only: Any) -> None:
        mask = masked(only).mask
        assert mask.any()
        assert torch.equal(mask, masked(paint(seed=5)).mask)

    def test_masks_of_phrases_make_a_probe_and_say_why(
        self, nodes: dict[str, Any], segment: Any, only: Any
    ) -> None:
        free = call(nodes["LDZNetLoadHead"], head_name="training-free").head
        report = segment(only, "a red car", head=free).report
        assert report.splitlines()[-1].endswith(
            "because LD-ZNet Capture did not listen for attention (connect this head to it)"
        )

    def test_masks_of_phrases_from_the_run_alone_are_refused_with_the_remedy(
        self, nodes: dict[str, Any], segment: Any, only: Any, input_error: type[Exception]
    ) -> None:
        free = call(nodes["LDZNetLoadHead"], head_name="training-free").head
        with pytest.raises(input_error, match="did not listen for attention"):
            segment(only, "a red car", head=free, source="sampling")


class TestRefusals:
    def test_a_run_without_guidance_is_told(
        self, paint: Any, masked: Any, input_error: type[Exception]
    ) -> None:
        with pytest.raises(input_error, match=r"because sampling had no guidance .+ \(a CFG of 1"):
            masked(paint(cfg=1.0))

    def test_a_latent_that_was_not_captured_is_told(
        self, masked: Any, input_error: type[Exception]
    ) -> None:
        with pytest.raises(input_error, match="no sampler returned these very latents") as told:
            masked({"samples": torch.zeros(1, 4, 8, 8)})
        assert "\n" not in str(told.value)
        assert "put LD-ZNet Capture before its sampler" in str(told.value)

    def test_a_model_that_gave_nan_is_told(
        self, pack: Pack, masked: Any, input_error: type[Exception]
    ) -> None:
        bank, latents = pack.module("nodes.bank"), torch.ones(1, 4, 8, 8)
        bank.BANK.put(latents, bank.Missing("none"), torch.full((8, 8), float("nan")))
        with pytest.raises(input_error, match="expected finite numbers from the sampler"):
            masked({"samples": latents})
