"""How pictures are looked at: the default without chance, the official one with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor

from ldznet_core import InputError, Segmenter, UnsupportedModelError
from ldznet_core.backbone import Posterior
from ldznet_core.capture import Features
from ldznet_core.preprocessing import official_size
from ldznet_core.procedure import OFFICIAL_TEMPLATES, Procedure

from .tiny import TinyBackbone, picture, tiny_head

IMAGE = picture(64, 48)


class Witness(TinyBackbone):
    """A tiny backbone whose VAE can be sampled from, and that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[tuple[str, float, Tensor]] = []

    def encode_posterior(self, image: Image.Image) -> Posterior:
        mode = self.encode_image(image)
        return Posterior(mode, torch.full_like(mode, 0.1))

    def probe(
        self,
        latents: Tensor,
        phrases: list[str],
        t: float = 400.0,
        generator: torch.Generator | None = None,
    ) -> Features:
        self.looks += [(phrase, t, latents) for phrase in phrases]
        return super().probe(latents, phrases, t=t, generator=generator)


@pytest.fixture(scope="module")
def backbone() -> TinyBackbone:
    return TinyBackbone()


def logits(
    backbone: TinyBackbone, *phrases: str, image: Image.Image = IMAGE, **how: object
) -> Tensor:
    procedure = Procedure(**how)  # type: ignore[arg-type]  # fields by name
    segmenter = Segmenter(backbone, tiny_head(), procedure=procedure)
    return segmenter.segment_image(image, phrases or ["cat"]).logits


class TestWithoutChance:
    def test_several_timesteps_give_the_mean_of_their_logits(self, backbone: TinyBackbone) -> None:
        apart = [logits(backbone, timesteps=(t,)) for t in (350, 400, 450)]
        together = logits(backbone, timesteps=(350, 400, 450))
        torch.testing.assert_close(together, torch.stack(apart).mean(dim=0), atol=1e-5, rtol=0)
        assert not torch.equal(apart[0], apart[2])

    def test_the_default_is_the_head_s_timestep_template_and_seed_0(
        self, backbone: TinyBackbone
    ) -> None:
        assert torch.equal(logits(backbone), logits(backbone, timesteps=(400,), seed=0))
        assert torch.equal(logits(backbone), logits(backbone, template="{}"))

    def test_the_seed_changes_the_noise_and_nothing_else(self, backbone: TinyBackbone) -> None:
        first, again, other = (logits(backbone, seed=seed) for seed in (7, 7, 8))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_the_template_may_be_chosen(self, backbone: TinyBackbone) -> None:
        asked = logits(backbone, "cat", template="a photo of a {}.")
        assert torch.equal(asked, logits(backbone, "a photo of a cat."))

    def test_passes_over_many_phrases_share_the_noise(self, backbone: TinyBackbone) -> None:
        words = [f"thing {number}" for number in range(5)]
        how = Procedure(timesteps=(300, 500), seed=3)
        small = Segmenter(backbone, tiny_head(), phrases_per_pass=2, procedure=how)
        large = Segmenter(backbone, tiny_head(), procedure=how)
        torch.testing.assert_close(
            small.segment_image(IMAGE, words).logits,
            large.segment_image(IMAGE, words).logits,
            atol=1e-4,  # of logits up to 10
            rtol=0,
        )

    def test_one_timestep_is_reported_and_several_are_not(self, backbone: TinyBackbone) -> None:
        for timesteps, reported in (((350,), 350), ((350, 450), None)):
            segmenter = Segmenter(backbone, tiny_head(), procedure=Procedure(timesteps=timesteps))
            found = segmenter.segment_image(IMAGE, ["cat"])
            assert (found.source, found.timestep) == ("probe", reported)

    def test_masks_may_have_a_size_of_their_own(self, backbone: TinyBackbone) -> None:
        segmenter = Segmenter(backbone, tiny_head())
        assert segmenter.segment_image(IMAGE, ["cat"], size=(31, 17)).masks.shape == (1, 31, 17)
        with pytest.raises(InputError, match="at least 1x1"):
            segmenter.segment_image(IMAGE, ["cat"], size=(0, 17))

    def test_latents_are_looked_at_in_the_same_way(self, backbone: TinyBackbone) -> None:
        latents = backbone.encode_image(picture(64, 64))
        how = Procedure(timesteps=(350, 450), template="a {}", seed=2)
        segmenter = Segmenter(backbone, tiny_head(), procedure=how)
        assert torch.equal(
            segmenter.segment_latents(latents, ["cat"]).logits,
            segmenter.segment_image(picture(64, 64), ["cat"]).logits,
        )


class TestOfficialRandomness:
    def test_template_timestep_latents_and_noise_vary_from_phrase_to_phrase(self) -> None:
        backbone = Witness()
        phrases = [f"thing {number}" for number in range(40)]
        logits(backbone, *phrases, image=picture(64, 64), has_official_randomness=True)
        texts, timesteps, latents = zip(*backbone.looks, strict=True)
        templates = {
            text.replace(phrase, "{}") for text, phrase in zip(texts, phrases, strict=True)
        }
        assert templates == set(OFFICIAL_TEMPLATES)
        assert all(300 <= t < 500 for t in timesteps)
        assert len(set(timesteps)) > 25
        mode = backbone.encode_image(picture(64, 64))
        noise = torch.stack([each - mode for each in latents]) / 0.1
        assert noise.mean().abs() < 0.1
        assert noise.std() == pytest.approx(1, abs=0.1)

    def test_seed_picture_and_phrase_decide_everything(self) -> None:
        def draw(*phrases: str, image: Image.Image = IMAGE, seed: int = 1) -> Tensor:
            return logits(Witness(), *phrases, image=image, seed=seed, has_official_randomness=True)

        first = draw("cat", "dog")
        torch.manual_seed(9)
        assert torch.equal(draw("dog", "cat"), first.flip(0))
        assert torch.equal(draw("dog"), first[1:])
        assert not torch.equal(draw("dog", seed=2), first[1:])
        assert not torch.equal(draw("dog", image=picture(64, 48, seed=5)), first[1:])

    def test_latents_are_taken_as_they_are(self) -> None:
        backbone = Witness()
        latents = backbone.encode_image(picture(64, 64))
        how = Procedure(has_official_randomness=True)
        segmenter = Segmenter(backbone, tiny_head(), procedure=how)
        first = segmenter.segment_latents(latents, ["cat"])
        assert torch.equal(backbone.looks[0][2], latents)
        assert torch.equal(first.logits, segmenter.segment_latents(latents, ["cat"]).logits)

    def test_a_vae_that_cannot_be_sampled_from_is_refused(self, backbone: TinyBackbone) -> None:
        with pytest.raises(UnsupportedModelError, match="whose VAE can be sampled from"):
            Segmenter(backbone, tiny_head(), procedure=Procedure(has_official_randomness=True))


class TestOfficialPreprocessing:
    @pytest.mark.parametrize(
        ("width", "height", "expected"),
        [  # (width, height) as the authors' code gave them when it was run
            (640, 480, (384, 320)),
            (1920, 1080, (512, 256)),
            (1216, 832, (448, 256)),
            (513, 512, (384, 320)),
            (1000, 100, (1152, 64)),
            (512, 512, (384, 384)),
        ],
    )
    def test_sizes_are_the_authors(
        self, width: int, height: int, expected: tuple[int, int]
    ) -> None:
        assert official_size((height, width), 384) == expected[::-1]

    def test_a_side_of_0_is_refused(self) -> None:
        with pytest.raises(InputError, match="leave 2368x0"):
            official_size((100, 4000), 384)

    def test_the_picture_is_squeezed_and_its_mask_stretched_back(self) -> None:
        backbone = Witness()
        head = tiny_head()
        head.config = replace(head.config, image_side=128)
        segmenter = Segmenter(backbone, head, procedure=Procedure(preprocess="official"))
        found = segmenter.segment_image(picture(200, 120), ["cat"])
        assert found.masks.shape == (1, 120, 200)
        squeezed = picture(200, 120).resize((128, 64), Image.Resampling.LANCZOS)
        assert torch.equal(backbone.looks[0][2], backbone.encode_image(squeezed))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timesteps": (1000,)}, "0 to 999, got 1000"),
        ({"timesteps": (-1,)}, "0 to 999"),
        ({"timesteps": (3.5,)}, "whole timesteps"),
        ({"template": "a photo"}, "one {} in the template"),
        ({"template": "{} {}"}, "one {} in the template"),
        ({"seed": -1}, "seed from 0"),
        ({"has_official_randomness": True, "timesteps": (400,)}, "got both"),
        ({"has_official_randomness": True, "template": "{}"}, "got both"),
    ],
)
def test_what_cannot_be_done_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Procedure(**fields)  # type: ignore[arg-type]  # that is the point
