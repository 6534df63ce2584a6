"""The miniature that comes with the package: the real weights, small pictures, few steps."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("diffusers", reason="the miniature needs the extra `cli`")

from ldznet_core import (
    InputError,
    LDZNetError,
    Segmenter,
    capturing,
    find_taps,
    load_head,
    load_miniature,
)
from ldznet_core.checkpoint import BUILT_IN
from ldznet_core.errors import CheckpointError
from ldznet_core.miniature import Generation, Miniature
from ldznet_core.miniature.repaint import blend, latent_mask
from ldznet_core.miniature.sampling import Guidance, make_scheduler, sample
from ldznet_core.miniature.text import load_text_encoder, save_text_encoder, tokenize
from ldznet_core.noise import seeded_noise
from ldznet_core.weights import SHARD_BYTES, find_files

PROMPT = "a red apple left of an owl on a beach"


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


def hooks_of(module: nn.Module) -> int:
    return sum(len(each._forward_hooks) for each in module.modules())


class TestPainting:
    def test_capture_changes_no_bit_of_the_picture(self, miniature: Miniature) -> None:
        with_capture = miniature.generate(PROMPT, seed=1, steps=6)
        without = miniature.generate(PROMPT, seed=1, steps=6, captures=False)
        assert torch.equal(with_capture.latents, without.latents)
        assert with_capture.image.tobytes() == without.image.tobytes()
        assert without.features is None

    def test_threads_that_share_it_paint_as_one_alone(self, miniature: Miniature) -> None:
        def paint(seed: int) -> Generation:
            return miniature.generate(PROMPT, seed=seed, steps=8, size=(64, 64))

        alone = [paint(seed) for seed in range(2)]
        with ThreadPoolExecutor(2) as threads:
            together = list(threads.map(paint, range(2)))
        for one, other in zip(alone, together, strict=True):
            assert one.image.tobytes() == other.image.tobytes()
            assert [each.timestep for each in one.captured] == [
                each.timestep for each in other.captured
            ]
        assert hooks_of(miniature.unet) == 0

    def test_a_seed_makes_one_picture_and_another_makes_another(self, miniature: Miniature) -> None:
        one, again = (miniature.generate(PROMPT, seed=3, steps=2).latents for _ in range(2))
        assert torch.equal(one, again)
        assert not torch.equal(one, miniature.generate(PROMPT, seed=4, steps=2).latents)

    def test_twenty_steps_are_captured_four_times_in_the_window(self, miniature: Miniature) -> None:
        made = miniature.generate(PROMPT, steps=20)
        assert [features.timestep for features in made.captured] == [499, 449, 399, 349]
        features = made.features
        assert features is not None
        assert (features.timestep, features.source) == (399, "sampling")
        assert {block: tuple(value.shape) for block, value in features.blocks.items()} == {
            6: (1, 128, 4, 4),
            7: (1, 128, 2, 2),
            8: (1, 128, 4, 4),
            9: (1, 128, 4, 4),
            10: (1, 128, 4, 4),
        }

    def test_features_are_those_of_the_prompt_not_of_its_absence(
        self, miniature: Miniature
    ) -> None:
        """Two steps visit t = 999 and 499: the second pass is made anew with the prompt alone."""
        prompt, nothing = (miniature.encode_text([text]) for text in (PROMPT, ""))
        noise = seeded_noise((1, 4, 16, 16), 0)
        guidance = Guidance(prompt, nothing, 4.0)
        fresh, again = (torch.Generator().manual_seed(1) for _ in range(2))
        _, captured = sample(miniature.unet, noise, guidance, 2, fresh, captures=True)
        scheduler = make_scheduler(2)
        both = torch.cat([nothing, prompt])
        with torch.inference_mode():
            plain, guided = miniature.unet(
                noise.repeat(2, 1, 1, 1), torch.tensor([999]), both
            ).chunk(2)
            towards_prompt = plain + 4 * (guided - plain)
            step = scheduler.step(towards_prompt, 999, noise, eta=1.0, generator=again)
            at_499 = step.prev_sample
            with capturing(miniature.unet, find_taps(miniature.unet)) as alone:
                miniature.unet(at_499, torch.tensor([499]), prompt)
        assert len(captured) == 1
        for block, feature in captured[0].blocks.items():
            assert torch.allclose(feature, alone[block], atol=1e-4)

    def test_no_more_is_kept_of_a_pass_than_the_prompt_s_rows(self, miniature: Miniature) -> None:
        made = miniature.generate(PROMPT, steps=2)
        (captured,) = made.captured
        for feature in captured.blocks.values():
            assert feature.untyped_storage().nbytes() == feature.numel() * feature.element_size()

    def test_sampling_may_begin_late_with_what_is_noisy_so_far(self, miniature: Miniature) -> None:
        """The last of four steps, t = 249, by hand: its outcome is what the pass sees."""
        prompt = miniature.encode_text([PROMPT])
        noisy = seeded_noise((1, 4, 16, 16), 0)
        told: list[int] = []
        with torch.inference_mode():
            latents, captured = sample(
                miniature.unet,
                noisy,
                Guidance(prompt, prompt, 1.0),
                4,
                torch.Generator().manual_seed(1),
                captures=True,
                begins_at=300.0,
                on_step=told.append,
            )
            scheduler = make_scheduler(4)
            predicted = miniature.unet(noisy, torch.tensor([249]), prompt)
            step = scheduler.step(
                predicted, 249, noisy, eta=1.0, generator=torch.Generator().manual_seed(1)
            )
        assert (told, captured) == ([1], [])
        assert torch.allclose(latents, step.prev_sample, atol=1e-6)

    def test_no_hook_outlives_an_error_in_mid_run(self, miniature: Miniature) -> None:
        class StoppedError(Exception):
            pass

        def stop(done: int) -> None:
            if done == 11:
                raise StoppedError

        with pytest.raises(StoppedError):
            miniature.generate(PROMPT, steps=20, on_step=stop)
        assert hooks_of(miniature.unet) == 0

    def test_other_sizes_than_it_was_trained_on_work(self, miniature: Miniature) -> None:
        made = miniature.generate(PROMPT, steps=2, size=(64, 192))
        assert made.image.size == (192, 64)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"steps": 0}, "1 to 1000 steps"),
            ({"guidance": -1.0}, "guidance above 0"),
            ({"size": (100, 128)}, "multiples of 64"),
            ({"size": (0, 128)}, "multiples of 64"),
        ],
    )
    def test_what_cannot_be_painted_is_refused(
        self, miniature: Miniature, arguments: dict[str, object], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            miniature.generate(PROMPT, **arguments)  # type: ignore[arg-type]

    def test_a_prompt_of_too_many_tokens_is_refused(self, miniature: Miniature) -> None:
        with pytest.raises(InputError, match="77"):
            miniature.generate("apple " * 80, steps=1)


class TestInpainting:
    def test_only_the_masked_part_changes(self, miniature: Miniature) -> None:
        made = miniature.generate(PROMPT, seed=1, steps=6).image
        mask = torch.zeros(128, 128)
        mask[40:90, 10:60] = 1
        painted = miniature.inpaint(made, mask, "a balloon on a beach", seed=5, steps=6)
        changed = np.abs(np.asarray(painted, int) - np.asarray(made, int)).max(axis=2)
        far = np.ones((128, 128), bool)
        far[30:100, 0:70] = False
        assert changed[far].max() == 0
        assert changed[50:80, 20:50].mean() > 5

    def test_a_mask_of_another_size_is_refused(self, miniature: Miniature) -> None:
        image = Image.new("RGB", (128, 128))
        with pytest.raises(InputError, match="128x128"):
            miniature.inpaint(image, torch.ones(64, 64), "a car", steps=1)

    def test_latents_are_painted_where_the_mask_reaches_and_around(self) -> None:
        mask = torch.zeros(64, 64)
        mask[20, 20] = 1
        expected = torch.zeros(8, 8)
        expected[1:4, 1:4] = 1
        assert torch.equal(latent_mask(mask, (64, 64), 8)[0, 0], expected)

    def test_an_empty_mask_leaves_the_picture(self) -> None:
        old, new = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
        assert blend(old, new, torch.zeros(32, 32)).tobytes() == old.tobytes()
        assert blend(old, new, torch.ones(32, 32)).tobytes() == new.tobytes()


@pytest.mark.parametrize("head", ["miniature", "miniature-compact"])
class TestMasks:
    def test_two_masks_of_one_picture_are_equal_bit_for_bit(
        self, miniature: Miniature, head: str
    ) -> None:
        segmenter = Segmenter(miniature, load_head(head))
        image = miniature.generate(PROMPT, seed=1, steps=4).image
        one, other = (segmenter.segment_image(image, ["apple", "sea"]) for _ in range(2))
        assert torch.equal(one.logits, other.logits)
        assert one.scores == other.scores

    @pytest.mark.parametrize("count", [1, 3, 20])
    def test_many_phrases_at_once_equal_one_by_one(
        self, miniature: Miniature, head: str, count: int
    ) -> None:
        segmenter = Segmenter(miniature, load_head(head))
        image = miniature.generate(PROMPT, seed=1, steps=4).image
        phrases = ["apple", "owl", "sea", "sand", "sky", "car", "the animal"] * 3
        together = segmenter.segment_image(image, phrases[:count])
        for index, phrase in enumerate(phrases[:count]):
            alone = segmenter.segment_image(image, [phrase])
            assert (together.probabilities[index] - alone.probabilities[0]).abs().max() < 1e-5

    def test_a_real_scene_gives_up_its_thing_and_denies_what_is_not_there(
        self, miniature: Miniature, head: str
    ) -> None:
        """Not a figure but a floor: `ldznet evaluate` measures, this notices broken weights."""
        from ldznet_core.evaluation.cases import cases
        from ldznet_core.evaluation.masks import evaluate_masks

        segmenter = Segmenter(miniature, load_head(head))
        figures = evaluate_masks(segmenter, cases("small", "iid", 12, miniature.image_side))
        summary = figures.summary()
        assert summary["things_miou"] > 0.5
        assert summary["absent_rejected"] > 0.6


class TestWeights:
    def test_every_file_is_small_enough_for_git(self) -> None:
        folder = BUILT_IN["miniature"].parent
        for stem in ("vae", "text_encoder", "unet", "head-ldznet"):
            assert all(file.stat().st_size <= SHARD_BYTES for file in find_files(folder / stem))

    def test_a_folder_without_weights_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="found none"):
            load_miniature(folder=tmp_path)

    def test_weights_of_something_else_are_refused(self, tmp_path: Path) -> None:
        for name in ("vae", "text_encoder", "unet"):
            for file in find_files(BUILT_IN["miniature"]):
                place = tmp_path / file.name.replace("head-ldznet", name)
                place.write_bytes(file.read_bytes())
        with pytest.raises(CheckpointError, match="a part of a miniature"):
            load_miniature(folder=tmp_path)

    def test_words_that_it_never_read_share_one_row(self, miniature: Miniature) -> None:
        rows = miniature.text_encoder.rows[tokenize(["guitar", "violin", "apple"])[:, 1]]
        assert rows[0] == rows[1] != rows[2]

    def test_the_text_encoder_survives_its_file(self, miniature: Miniature, tmp_path: Path) -> None:
        save_text_encoder(miniature.text_encoder, tmp_path / "text", "test")
        again = load_text_encoder(tmp_path / "text")
        ids = tokenize([PROMPT])
        assert torch.equal(again(ids), miniature.text_encoder(ids))

    def test_errors_have_one_root(self) -> None:
        assert issubclass(CheckpointError, LDZNetError)
        assert issubclass(InputError, ValueError)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_no_generator_takes_is_refused(miniature: Miniature, seed: int) -> None:
    with pytest.raises(InputError, match="a whole seed from 0 to"):
        miniature.generate(PROMPT, seed=seed, steps=1)


def test_the_last_seed_paints_and_inpaints(miniature: Miniature) -> None:
    """`ldznet demo` takes the last but one, and inpaints with the next."""
    made = miniature.generate(PROMPT, seed=2**63 - 1, steps=1)
    everything = torch.ones(made.image.height, made.image.width)
    painted = miniature.inpaint(made.image, everything, PROMPT, seed=2**63 - 1, steps=1)
    assert painted.size == made.image.size
