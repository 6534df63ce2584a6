"""Masks of any picture, on the miniature's real weights and a scene whose masks are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ldznet_core import Segmentation, Segmenter, load_head, load_miniature
from ldznet_core.checkpoint import save_head
from ldznet_core.world import Scene, all_phrases, mask_of

from ..core.tiny import tiny_head
from .calling import call, lines
from .loading import Pack

PRESENT, ABSENT = ["red car", "grass", "sky"], "an apple"
SIDE = 128


@pytest.fixture(scope="module")
def library() -> Segmenter:
    """The same parts without any host; passes as large as the nodes', to round alike."""
    return Segmenter(load_miniature(), load_head("miniature"), phrases_per_pass=4)


@pytest.fixture(scope="module")
def car(segment_image: Any, image: Tensor) -> SimpleNamespace:
    """What LDZNetSegmentImage finds of the red car."""
    return segment_image(image, "red car")


@pytest.fixture(scope="module")
def several(segment_image: Any, image: Tensor) -> SimpleNamespace:
    """What it finds of all that is there, and of what is not."""
    return segment_image(image, lines(*PRESENT, ABSENT))


def iou(ours: Tensor, theirs: Tensor) -> float:
    ours, theirs = ours > 0.5, theirs > 0.5
    return float((ours & theirs).sum() / (ours | theirs).sum())


def assert_same_masks(answer: SimpleNamespace, expected: Segmentation, picture: int = 0) -> None:
    """Equal but for rounding: the host's noise goes through sigmas, the core's does not."""
    for index, _ in enumerate(expected.phrases):
        torch.testing.assert_close(
            answer.probabilities[index][picture], expected.probabilities[index], atol=2e-3, rtol=0
        )
        differing = answer.masks[index][picture] != expected.masks[index]
        assert differing.float().mean() < 0.001
        assert answer.masks[index][picture].any() == expected.found[index]


class TestMasksOfAPicture:
    def test_they_are_those_of_the_library(
        self, several: SimpleNamespace, library: Segmenter, scene: Scene
    ) -> None:
        expected = library.segment_image(Image.fromarray(scene.image), [*PRESENT, ABSENT])
        assert_same_masks(several, expected)
        assert several.scores == pytest.approx(expected.scores, abs=1e-3)

    def test_they_cover_what_the_phrases_name(self, several: SimpleNamespace, scene: Scene) -> None:
        truths = {phrase.text: phrase for phrase in all_phrases(scene.layout, scene.labels)}
        for phrase, mask in zip(PRESENT, several.masks, strict=False):
            truth = torch.from_numpy(mask_of(scene.labels, truths[phrase].regions))
            assert iou(mask[0], truth.float()) > 0.7

    def test_what_is_not_there_has_an_empty_mask_and_a_low_score(
        self, several: SimpleNamespace
    ) -> None:
        assert not several.masks[-1].any()
        assert several.scores[-1] < 0.5 < min(several.scores[:-1])
        assert several.probabilities[-1].any()

    def test_the_mask_is_the_union_of_the_masks(self, several: SimpleNamespace) -> None:
        assert torch.equal(several.mask, torch.stack(several.masks).amax(0))
        assert several.mask.sum() > max(mask.sum() for mask in several.masks)

    def test_of_a_batch_each_picture_has_its_own_and_the_highest_score_counts(
        self, segment_image: Any, image: Tensor
    ) -> None:
        """A scene and its mirror image, and nothing at all."""
        batch = torch.cat([image, image.flip(2), torch.full_like(image, 0.5)])
        answer = segment_image(batch, lines("red car", ABSENT, "sky"))
        assert answer.mask.shape == (3, SIDE, SIDE)
        assert [mask.shape for mask in answer.masks] == [(3, SIDE, SIDE)] * 3
        assert [soft.shape for soft in answer.probabilities] == [(3, SIDE, SIDE)] * 3
        assert answer.heatmap.shape == (3, SIDE, SIDE, 3)
        assert [type(score) for score in answer.scores] == [float] * 3
        for maps in (answer.mask, answer.heatmap, *answer.masks, *answer.probabilities):
            assert (maps.dtype, maps.device.type) == (torch.float32, "cpu")
            assert 0 <= maps.min() <= maps.max() <= 1
        scene, mirrored, nothing = answer.masks[0]
        assert iou(scene, mirrored.flip(1)) > 0.7 > iou(scene, mirrored)
        assert not nothing.any()
        alone = segment_image(batch[1:2], lines("red car", ABSENT, "sky"))
        assert torch.equal(alone.masks[0][0], mirrored)
        assert answer.scores[0] >= alone.scores[0] > 0.9

    def test_negatives_are_taken_out_of_every_mask(
        self, segment_image: Any, several: SimpleNamespace, image: Tensor
    ) -> None:
        """The same four, of which the last two are to be taken out: one is there, one is not."""
        negatives = f"\n {PRESENT[2]} \n{ABSENT}"
        less = segment_image(image, lines(*PRESENT[:2]), negative_phrases=negatives)
        for index in range(2):
            expected = several.masks[index] * (1 - several.masks[2])
            assert torch.equal(less.masks[index], expected)
            assert torch.equal(less.probabilities[index], several.probabilities[index])
        assert torch.equal(less.mask, torch.maximum(*less.masks))
        assert len(less.masks) == len(less.scores) == len(less.probabilities) == 2

    def test_a_negative_that_is_the_phrase_leaves_nothing(
        self, segment_image: Any, image: Tensor
    ) -> None:
        less = segment_image(image, "red car", negative_phrases="red car")
        assert not less.mask.any()
        assert less.scores[0] > 0.9
        told = less.report.splitlines()[0]
        assert told.startswith("red car: there, but nothing is left of its mask, score ")

    def test_a_lower_threshold_takes_in_more(
        self, segment_image: Any, car: SimpleNamespace, image: Tensor
    ) -> None:
        low, high = (segment_image(image, "red car", threshold=each).mask for each in (0.05, 0.95))
        assert low.sum() > car.mask.sum() > high.sum() > 0

    def test_grown_masks_reach_so_many_pixels_further(
        self, segment_image: Any, car: SimpleNamespace, image: Tensor
    ) -> None:
        grown = segment_image(image, "red car", grow=3).mask
        rows, columns = car.mask[0].nonzero().unbind(1)
        expected = torch.zeros_like(car.mask[0])
        for down in range(-3, 4):
            for right in range(-3, 4):
                inside = (rows + down).clamp(0, SIDE - 1), (columns + right).clamp(0, SIDE - 1)
                expected[inside] = 1
        assert torch.equal(grown[0], expected)

    def test_feathered_masks_fade_at_their_edge_alone(
        self, segment_image: Any, car: SimpleNamespace, image: Tensor
    ) -> None:
        soft, wide = segment_image(image, "red car", feather=4).mask, car.mask[0].nonzero()
        assert ((soft > 0) & (soft < 1)).any()
        assert iou(soft, car.mask) > 0.9
        for row, column in (soft[0] > 0).nonzero():
            assert (wide - torch.stack([row, column])).abs().amax(1).min() <= 4

    def test_a_mask_does_not_grow_over_what_is_taken_out(
        self, segment_image: Any, several: SimpleNamespace, image: Tensor
    ) -> None:
        """Who asks for the face without the hair wants the hair left alone; edges may fade in."""
        negatives = lines(*PRESENT[1:], ABSENT)
        asked = {"negative_phrases": negatives, "grow": 5}
        taken = torch.stack(several.masks[1:3]).amax(0)
        grown = segment_image(image, "red car", **asked).mask
        assert not (grown * taken).any()
        assert grown.sum() > segment_image(image, "red car", negative_phrases=negatives).mask.sum()
        assert (segment_image(image, "red car", feather=3, **asked).mask * taken).any()

    def test_what_is_absent_has_a_mask_if_it_is_kept(
        self, segment_image: Any, image: Tensor
    ) -> None:
        asked = lines("red car", ABSENT)
        plain, kept = (segment_image(image, asked, keep_absent=keep) for keep in (False, True))
        assert torch.equal(kept.masks[0], plain.masks[0])
        assert not plain.masks[1].any()
        assert kept.masks[1].any()
        assert kept.scores == plain.scores
        assert kept.found == plain.found == [True, False]
        assert f"{ABSENT}: not there (mask kept), score " in kept.report

    def test_an_edge_of_the_largest_width_is_possible(
        self, segment_image: Any, image: Tensor
    ) -> None:
        answer = segment_image(image, lines("red car", ABSENT), grow=256, feather=256)
        assert (answer.masks[0] == 1).all()
        assert not answer.masks[1].any()


class TestPicturesOfAnyKind:
    @pytest.mark.parametrize("size", [(1, 1), (3, 200), (77, 50), (128, 192)])
    def test_masks_have_the_size_of_the_picture(
        self, segment_image: Any, size: tuple[int, int]
    ) -> None:
        answer = segment_image(torch.rand(1, *size, 3), lines("red car", "sky"), grow=2, feather=3)
        assert answer.mask.shape == answer.masks[0].shape == (1, *size)
        assert answer.heatmap.shape == (1, *size, 3)

    def test_alpha_changes_nothing(
        self, segment_image: Any, car: SimpleNamespace, image: Tensor
    ) -> None:
        with_alpha = torch.cat([image, torch.rand(1, SIDE, SIDE, 1)], dim=-1)
        answer = segment_image(with_alpha, "red car")
        assert torch.equal(answer.probabilities[0], car.probabilities[0])

    def test_a_picture_of_one_channel_is_told_in_a_sentence(
        self, input_error: type[Exception], segment_image: Any
    ) -> None:
        """Some packs give such an IMAGE."""
        with pytest.raises(input_error, match=r"got a tensor \(1, 1, 64, 64\)"):
            segment_image(torch.rand(1, 64, 64, 1), "red car")

    def test_a_picture_that_is_no_numbers_is_told_in_a_sentence(
        self, input_error: type[Exception], segment_image: Any, image: Tensor
    ) -> None:
        spoilt = image.clone()
        spoilt[0, 3, 3, 0] = float("nan")
        with pytest.raises(input_error, match=r"values outside .* or NaN"):
            segment_image(spoilt, "red car")


class TestPhrases:
    def test_blank_lines_are_no_phrases(self, segment_image: Any, image: Tensor) -> None:
        answer = segment_image(image, "\n  red car \r\n\n\tsky\n")
        assert [line.split(":")[0] for line in answer.report.splitlines()[:2]] == ["red car", "sky"]

    @pytest.mark.parametrize("name", ["LDZNetSegment", "LDZNetSegmentImage"])
    def test_no_phrases_are_refused_before_anything_runs(
        self, nodes: dict[str, Any], name: str
    ) -> None:
        validate = nodes[name].validate_inputs
        for empty in ("", " \n\t\n"):
            assert "expected at least one phrase, got none" in validate(phrases=empty)
        assert validate(phrases="red car") is True
        assert validate(phrases=None) is True  # comes over a wire, and is not known yet

    def test_no_phrases_over_a_wire_are_refused_in_the_same_words(
        self, input_error: type[Exception], segment_image: Any, image: Tensor
    ) -> None:
        with pytest.raises(input_error, match="expected at least one phrase, got none"):
            segment_image(image, " \n ")

    @pytest.mark.parametrize("asked", ["phrases", "negative_phrases"])
    def test_a_phrase_over_77_tokens_is_refused_not_cut(
        self, input_error: type[Exception], segment_image: Any, image: Tensor, asked: str
    ) -> None:
        given = {"phrases": "red car", asked: "car " * 76}
        with pytest.raises(input_error, match=r"at most 77 tokens, got 78 in 'car car"):
            segment_image(image, **given)


class TestManners:
    def test_the_same_input_gives_the_same_bits(
        self, segment_image: Any, several: SimpleNamespace, image: Tensor
    ) -> None:
        torch.manual_seed(123)
        again = segment_image(image, lines(*PRESENT, ABSENT))
        for name in ("mask", "heatmap"):
            assert torch.equal(getattr(again, name), getattr(several, name))
        for ours, theirs in zip(again.probabilities, several.probabilities, strict=True):
            assert torch.equal(ours, theirs)
        assert (again.scores, again.report) == (several.scores, several.report)

    def test_no_output_shares_its_memory_with_another(self, segment_image: Any) -> None:
        """Other nodes may write to what they are given."""
        answer = segment_image(torch.rand(1, 16, 16, 3), "red car")
        maps = [answer.mask, *answer.masks, answer.heatmap, *answer.probabilities]
        assert len({each.untyped_storage().data_ptr() for each in maps}) == len(maps)

    def test_layers_that_were_skipped_for_prompts_are_not_for_phrases(
        self, segment_image: Any, car: SimpleNamespace, image: Tensor, loaded: SimpleNamespace
    ) -> None:
        """Heads were trained on the last layer; the user's CLIP stays as it is set."""
        skipping = loaded.clip.clone()
        skipping.clip_layer(-2)
        answer = segment_image(image, "red car", clip=skipping)
        assert torch.equal(answer.probabilities[0], car.probabilities[0])
        assert skipping.layer_idx == -2

    def test_the_preview_and_the_report_are_shown_under_the_node(self, segment_image: Any) -> None:
        import folder_paths

        answer = segment_image(torch.rand(2, 16, 24, 3), lines("red car", ABSENT))
        assert answer.ui["text"] == (answer.report,)
        assert len(answer.ui["images"]) == 2
        file = Path(folder_paths.get_temp_directory()) / answer.ui["images"][1]["filename"]
        shown = torch.from_numpy(np.asarray(Image.open(file)).copy()).float() / 255
        torch.testing.assert_close(shown, answer.heatmap[1], atol=1 / 255, rtol=0)

    def test_the_report_names_each_phrase_with_its_verdict(self, several: SimpleNamespace) -> None:
        car, grass, sky, apple, origin = several.report.splitlines()
        assert car.startswith("red car: found, score ")
        assert car.endswith(f" {several.scores[0]:.2f}")
        assert grass.startswith("grass: found, score ")
        assert sky.startswith("sky: found, score ")
        assert apple.startswith("an apple: not there, score ")
        assert origin == "features: from one extra pass (probe) at t = 400"

    def test_the_heat_map_is_as_bright_as_the_thing_is_likely(self, car: SimpleNamespace) -> None:
        light = car.heatmap[0].amax(-1)
        torch.testing.assert_close(light, car.probabilities[0][0], atol=0.01, rtol=0)

    @pytest.fixture
    def steps(self, pack: Pack) -> Iterator[list[tuple[int, int]]]:
        """The (step, total) that nodes told the host."""
        from comfy import utils

        told: list[tuple[int, int]] = []
        utils.set_progress_bar_global_hook(lambda step, total: told.append((step, total)))
        yield told
        utils.set_progress_bar_global_hook(None)

    def test_progress_goes_to_its_end_in_equal_steps(
        self, segment_image: Any, image: Tensor, steps: list[tuple[int, int]]
    ) -> None:
        """Four phrases and a negative are two passes, for each of two pictures."""
        batch = torch.cat([image, image])
        segment_image(batch, lines("a", "b", "c", "d"), negative_phrases="e")
        assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_an_interruption_is_heard_between_pictures(
        self, segment_image: Any, image: Tensor, steps: list[tuple[int, int]]
    ) -> None:
        from comfy import model_management, utils

        def interrupt(step: int, total: int) -> None:
            steps.append((step, total))
            model_management.interrupt_current_processing()

        utils.set_progress_bar_global_hook(interrupt)
        with pytest.raises(model_management.InterruptProcessingException):
            segment_image(torch.cat([image] * 3), "red car")
        assert steps == [(1, 3)]
        utils.set_progress_bar_global_hook(None)
        assert segment_image(image, "red car").mask.any()

    def test_a_head_of_another_family(
        self, pack: Pack, nodes: dict[str, Any], segment_image: Any, image: Tensor
    ) -> None:
        import folder_paths

        folder = Path(folder_paths.get_folder_paths("ldznet")[0])
        save_head(tiny_head(), folder / "tiny.safetensors", dtype=torch.float16)
        head = call(nodes["LDZNetLoadHead"], head_name="tiny.safetensors").head
        error = pack.module("ldznet_core").UnsupportedModelError
        with pytest.raises(error, match="expected a head for 'miniature', got one for 'tiny'"):
            segment_image(image, "red car", head=head)
