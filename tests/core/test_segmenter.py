"""The path from phrases to masks, on a tiny backbone and head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ldznet_core.capture import Features
from ldznet_core.errors import InputError, UnsupportedModelError
from ldznet_core.head import HeadConfig, LDZNetHead
from ldznet_core.segmentation import Segmentation
from ldznet_core.segmenter import BlockFeatures, Segmenter

from .tiny import HEAD_SIZES, TinyBackbone, picture, tiny_compact_head, tiny_head

WORDS = [f"{colour} {noun}" for colour in ("red", "blue", "old", "big") for noun in "abcde"]


@pytest.fixture(scope="module")
def backbone() -> TinyBackbone:
    return TinyBackbone()


@pytest.fixture(scope="module")
def segmenter(backbone: TinyBackbone) -> Segmenter:
    return Segmenter(backbone, tiny_head())


@pytest.fixture(scope="module")
def latents(backbone: TinyBackbone) -> Tensor:
    return backbone.encode_image(picture(64, 64))


@pytest.fixture(scope="module")
def features(backbone: TinyBackbone, latents: Tensor) -> Features:
    return backbone.probe(latents, ["a room"])


def _assert_equal(ours: Segmentation, theirs: Segmentation) -> None:
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.masks, theirs.masks)
    assert ours.scores == theirs.scores


class TestSegmentImage:
    def test_it_answers_every_phrase_at_the_size_of_the_picture(self, segmenter: Segmenter) -> None:
        found = segmenter.segment_image(picture(77, 50), ["cat", " red car "])
        assert found.phrases == ("cat", "red car")
        shapes = {tuple(each.shape) for each in (found.logits, found.probabilities, found.masks)}
        assert shapes == {(2, 50, 77)}
        assert set(found.masks.unique().tolist()) == {0.0, 1.0}
        assert (found.source, found.timestep, found.threshold) == ("probe", 400.0, 0.5)

    @pytest.mark.parametrize("count", [3, 20])
    def test_phrases_do_not_hear_each_other(self, segmenter: Segmenter, count: int) -> None:
        together = segmenter.segment_image(picture(64, 64), WORDS[:count])
        for number in range(0, count, 3):
            alone = segmenter.segment_image(picture(64, 64), [WORDS[number]])
            torch.testing.assert_close(
                together.probabilities[number], alone.probabilities[0], atol=1e-5, rtol=0
            )
            assert together.scores[number] == pytest.approx(alone.scores[0], abs=1e-5)

    def test_the_same_input_gives_the_same_bits(self, segmenter: Segmenter) -> None:
        first = segmenter.segment_image(picture(60, 70), ["cat", "dog"], ["sky"])
        torch.manual_seed(123)
        _assert_equal(first, segmenter.segment_image(picture(60, 70), ["cat", "dog"], ["sky"]))

    def test_an_array_and_a_tensor_of_the_picture_give_the_same(self, segmenter: Segmenter) -> None:
        array = np.asarray(picture(50, 40))
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        expected = segmenter.segment_image(picture(50, 40), ["cat"])
        _assert_equal(segmenter.segment_image(array, ["cat"]), expected)
        _assert_equal(segmenter.segment_image(tensor, ["cat"]), expected)

    @pytest.mark.parametrize("size", [(1, 1), (3, 200), (63, 65), (130, 64)])
    def test_a_picture_may_have_any_size(self, segmenter: Segmenter, size: tuple[int, int]) -> None:
        assert segmenter.segment_image(picture(*size), ["cat"]).masks.shape == (1, *size[::-1])

    def test_negatives_are_taken_out(self, segmenter: Segmenter) -> None:
        image = picture(64, 64)
        apart = segmenter.segment_image(image, ["cat", "old a", "old b"])
        assert all(apart.found)
        joint = segmenter.segment_image(image, ["cat"], negatives=["old a", "old b"])
        expected = apart.masks[0] * (apart.masks[1:].sum(dim=0) == 0)
        assert torch.equal(joint.masks[0], expected)
        assert 0 < joint.masks.sum() < apart.masks[0].sum()

    def test_no_threshold_is_the_head_s_own(self, backbone: TinyBackbone) -> None:
        segmenter = Segmenter(backbone, tiny_head(mask_threshold=0.8))
        image = picture(64, 64)
        calibrated = segmenter.segment_image(image, ["cat"], threshold=None)
        assert calibrated.threshold == 0.8
        _assert_equal(calibrated, segmenter.segment_image(image, ["cat"], threshold=0.8))
        assert calibrated.masks.sum() < segmenter.segment_image(image, ["cat"]).masks.sum()

    def test_what_scores_too_low_is_not_found(self, backbone: TinyBackbone) -> None:
        segmenter = Segmenter(backbone, tiny_head(presence_threshold=0.99999))
        absent = segmenter.segment_image(picture(64, 64), ["cat"])
        assert absent.found == [False]
        assert absent.masks.sum() == 0
        assert absent.probabilities.max() > 0.5

    def test_phrases_are_put_into_the_head_s_template(self, backbone: TinyBackbone) -> None:
        image = picture(64, 64)
        answer = Segmenter(backbone, tiny_head(template="a {} there")).segment_image(image, ["cat"])
        plain = Segmenter(backbone, tiny_head())
        _assert_equal(answer, plain.segment_image(image, ["a cat there"]))
        assert answer.phrases == ("cat",)

    def test_plain_znet_needs_no_probe(self) -> None:
        backbone = TinyBackbone()
        found = Segmenter(backbone, tiny_head(taps=())).segment_image(picture(64, 64), ["cat"])
        assert backbone.probes == 0
        assert (found.source, found.timestep) == (None, None)


def test_a_head_may_look_once_under_no_text_for_all_phrases() -> None:
    backbone = TinyBackbone()
    head = tiny_compact_head(taps=(6, 7, 8, 9, 10), probes_once=True, image_side=64)
    segmenter = Segmenter(backbone, head)
    found = segmenter.segment_image(picture(64, 64), WORDS)
    assert backbone.probes == 1
    latents = backbone.encode_image(picture(64, 64))
    untold = backbone.probe(latents, [""])
    _assert_equal(found, segmenter.segment_features(latents, untold, WORDS))


class TestSegmentFeatures:
    def test_a_probe_of_one_s_own_gives_what_segment_image_gives(
        self, segmenter: Segmenter, backbone: TinyBackbone, latents: Tensor
    ) -> None:
        probed = backbone.probe(latents, ["cat", "dog", "sky"])
        answer = segmenter.segment_features(latents, probed, ["cat", "dog"], ["sky"])
        _assert_equal(answer, segmenter.segment_image(picture(64, 64), ["cat", "dog"], ["sky"]))

    def test_a_row_for_each_phrase_stays_with_it_over_several_passes(
        self, backbone: TinyBackbone, latents: Tensor
    ) -> None:
        segmenter = Segmenter(backbone, tiny_head(), phrases_per_pass=2)
        probed = backbone.probe(latents, WORDS[:5])
        together = segmenter.segment_features(latents, probed, WORDS[:5])
        for number in range(5):
            row = {block: rows[number : number + 1] for block, rows in probed.blocks.items()}
            alone = segmenter.segment_features(latents, row, [WORDS[number]])
            torch.testing.assert_close(
                together.probabilities[number], alone.probabilities[0], atol=1e-5, rtol=0
            )

    def test_it_says_where_the_features_came_from(
        self, segmenter: Segmenter, latents: Tensor, features: Features
    ) -> None:
        sampled = Features(features.blocks, 321.0, "sampling")
        answer = segmenter.segment_features(latents, sampled, ["cat"])
        assert (answer.source, answer.timestep) == ("sampling", 321.0)
        untold = segmenter.segment_features(latents, features.blocks, ["cat"])
        assert (untold.source, untold.timestep) == (None, None)
        _assert_equal(answer, untold)

    def test_masks_have_the_decoded_size_or_the_one_asked_for(
        self, segmenter: Segmenter, backbone: TinyBackbone
    ) -> None:
        latents = backbone.encode_image(picture(72, 40))
        probed = backbone.probe(latents, ["cat"])
        own = segmenter.segment_features(latents, probed, ["cat"])
        assert own.masks.shape == (1, 40, 72)
        sized = segmenter.segment_features(latents, probed, ["cat"], size=(33, 21))
        assert sized.masks.shape == (1, 33, 21)
        assert sized.scores == own.scores

    def test_with_the_picture_its_own_latents_are_read(
        self, segmenter: Segmenter, backbone: TinyBackbone, latents: Tensor, features: Features
    ) -> None:
        shown = picture(8 * latents.shape[-1], 8 * latents.shape[-2])
        answer = segmenter.segment_sampled(latents, features, ["cat"], picture=shown)
        seen = backbone.encode_image(shown)
        _assert_equal(answer, segmenter.segment_features(seen, features, ["cat"]))

    def test_masks_are_of_the_size_that_the_picture_got_since(
        self, segmenter: Segmenter, latents: Tensor, features: Features
    ) -> None:
        small = picture(8 * latents.shape[-1], 8 * latents.shape[-2])
        large = small.resize((2 * small.width, 2 * small.height))
        answer = segmenter.segment_sampled(latents, features, ["cat"], picture=large)
        assert answer.masks.shape == (1, large.height, large.width)
        as_sampled = segmenter.latents_of(large, (small.height, small.width))
        assert as_sampled.shape == latents.shape

    def test_a_picture_of_which_nothing_was_left_is_probed(
        self, segmenter: Segmenter, latents: Tensor
    ) -> None:
        shown = picture(72, 40)
        answer = segmenter.segment_sampled(latents, None, ["cat"], picture=shown)
        _assert_equal(answer, segmenter.segment_image(shown, ["cat"]))

    def test_latents_in_half_precision_will_do(
        self, segmenter: Segmenter, latents: Tensor, features: Features
    ) -> None:
        exact = segmenter.segment_features(latents, features, ["cat"])
        halves = {block: feature.half() for block, feature in features.blocks.items()}
        rough = segmenter.segment_features(latents.half(), halves, ["cat"])
        assert rough.logits.dtype == torch.float32
        assert (rough.logits - exact.logits).abs().max() < 0.1  # of a deviation of about 2


class TestSegmentLatents:
    def test_latents_of_a_picture_give_what_the_picture_gives(
        self, segmenter: Segmenter, latents: Tensor
    ) -> None:
        answer = segmenter.segment_latents(latents, ["cat", "dog"], ["sky"])
        _assert_equal(answer, segmenter.segment_image(picture(64, 64), ["cat", "dog"], ["sky"]))
        assert (answer.source, answer.timestep, answer.threshold) == ("probe", 400.0, 0.5)

    def test_each_phrase_has_a_probe_of_its_own(
        self, segmenter: Segmenter, backbone: TinyBackbone, latents: Tensor
    ) -> None:
        probed = backbone.probe(latents, ["cat", "dog"])
        expected = segmenter.segment_features(latents, probed, ["cat", "dog"])
        _assert_equal(segmenter.segment_latents(latents, ["cat", "dog"]), expected)

    def test_masks_have_the_decoded_size_or_the_one_asked_for(
        self, segmenter: Segmenter, backbone: TinyBackbone
    ) -> None:
        latents = backbone.encode_image(picture(72, 40))
        own = segmenter.segment_latents(latents, ["cat"])
        assert own.masks.shape == (1, 40, 72)
        sized = segmenter.segment_latents(latents, ["cat"], size=(33, 21))
        assert sized.masks.shape == sized.logits.shape == (1, 33, 21)
        assert sized.scores == own.scores

    @pytest.mark.parametrize("size", [(1, 1), (5, 9), (8, 16)])
    def test_latents_may_have_any_size(self, segmenter: Segmenter, size: tuple[int, int]) -> None:
        found = segmenter.segment_latents(torch.randn(1, 4, *size), ["cat"])
        assert found.masks.shape == (1, 8 * size[0], 8 * size[1])

    def test_plain_znet_needs_no_probe(self, latents: Tensor) -> None:
        backbone = TinyBackbone()
        found = Segmenter(backbone, tiny_head(taps=())).segment_latents(latents, ["cat"])
        assert backbone.probes == 0
        assert (found.source, found.timestep) == (None, None)

    def test_no_threshold_is_the_head_s_own(self, backbone: TinyBackbone, latents: Tensor) -> None:
        segmenter = Segmenter(backbone, tiny_head(mask_threshold=0.8))
        assert segmenter.segment_latents(latents, ["cat"], threshold=None).threshold == 0.8

    @pytest.mark.parametrize("shape", [(2, 4, 8, 8), (1, 3, 8, 8), (4, 8, 8)])
    def test_latents_of_a_wrong_shape_are_refused_before_any_probe(
        self, shape: tuple[int, ...]
    ) -> None:
        backbone = TinyBackbone()
        with pytest.raises(InputError, match="expected the latents of one picture"):
            Segmenter(backbone, tiny_head()).segment_latents(torch.zeros(shape), ["cat"])
        assert backbone.probes == 0

    def test_latents_that_are_no_numbers_are_refused(self, segmenter: Segmenter) -> None:
        with pytest.raises(InputError, match="in the latents"):
            segmenter.segment_latents(torch.full((1, 4, 8, 8), float("nan")), ["cat"])

    def test_no_phrases_are_refused(self, segmenter: Segmenter, latents: Tensor) -> None:
        with pytest.raises(InputError, match="expected at least one phrase"):
            segmenter.segment_latents(latents, [])


class TestPasses:
    """What a host's progress bar counts."""

    @pytest.mark.parametrize(("phrases", "negatives", "passes"), [(1, 0, 1), (3, 1, 2), (4, 3, 4)])
    def test_each_is_told_when_it_is_done(
        self, backbone: TinyBackbone, latents: Tensor, phrases: int, negatives: int, passes: int
    ) -> None:
        told: list[int] = []
        segmenter = Segmenter(
            backbone, tiny_head(), phrases_per_pass=2, on_pass=lambda: told.append(len(told) + 1)
        )
        probed = backbone.probe(latents, ["a room"])
        asked = WORDS[:phrases], WORDS[phrases : phrases + negatives]
        segmenter.segment_latents(latents, *asked)
        assert told == list(range(1, passes + 1))
        segmenter.segment_image(picture(64, 64), *asked)
        segmenter.segment_features(latents, probed, *asked)
        assert len(told) == 3 * passes

    def test_an_error_in_the_telling_ends_the_work(
        self, backbone: TinyBackbone, latents: Tensor
    ) -> None:
        """So that hosts can interrupt."""

        def stop() -> None:
            raise KeyboardInterrupt

        head = tiny_head().train()
        segmenter = Segmenter(backbone, head, phrases_per_pass=1, on_pass=stop)
        before = backbone.probes
        with pytest.raises(KeyboardInterrupt):
            segmenter.segment_latents(latents, ["cat", "dog"])
        assert backbone.probes == before + 1
        assert head.training


def test_a_head_may_be_whatever_calls_one(backbone: TinyBackbone, latents: Tensor) -> None:
    """Hosts wrap their memory management around it."""

    class Managed:
        def __init__(self, head: LDZNetHead) -> None:
            self.config, self._head = head.config, head

        def __call__(
            self, latents: Tensor, context: Tensor, features: BlockFeatures | None = None
        ) -> Tensor:
            logits: Tensor = self._head(latents, context, features)
            return logits

    answer = Segmenter(backbone, Managed(tiny_head())).segment_latents(latents, ["cat"])
    _assert_equal(answer, Segmenter(backbone, tiny_head()).segment_latents(latents, ["cat"]))
    assert not answer.masks.is_inference()


class TestManners:
    def test_results_may_be_written_to_and_carry_no_graph(self, segmenter: Segmenter) -> None:
        found = segmenter.segment_image(picture(64, 64), ["cat"])
        for tensor in (found.logits, found.probabilities, found.masks):
            assert not tensor.requires_grad
            tensor.mul_(0.5)

    @pytest.mark.parametrize("training", [True, False])
    def test_the_head_keeps_its_mode_even_after_an_error(
        self, backbone: TinyBackbone, training: bool
    ) -> None:
        head = tiny_head().train(training)
        segmenter = Segmenter(backbone, head)
        segmenter.segment_image(picture(64, 64), ["cat"])
        assert head.training is training
        with pytest.raises(InputError):
            segmenter.segment_image(picture(64, 64), ["word " * 80])
        assert head.training is training
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


class TestRefusals:
    def test_a_head_for_another_family(self, backbone: TinyBackbone) -> None:
        head = LDZNetHead(HeadConfig(family="sd1", unet=HEAD_SIZES))
        with pytest.raises(UnsupportedModelError, match="expected a head for 'tiny', got one for"):
            Segmenter(backbone, head)

    def test_a_vae_of_another_stride(self) -> None:
        backbone = TinyBackbone()
        backbone.stride = 16
        with pytest.raises(UnsupportedModelError, match="8 pixels to a latent, got 16"):
            Segmenter(backbone, tiny_head())

    def test_no_phrases_and_empty_ones(self, segmenter: Segmenter) -> None:
        for phrases, negatives in [([], []), ([" "], []), (["cat"], [""]), ("cat", [])]:
            with pytest.raises(InputError, match="phrase"):
                segmenter.segment_image(picture(64, 64), phrases, negatives)

    def test_a_phrase_over_77_tokens_is_told_in_the_backbone_s_words(
        self, segmenter: Segmenter
    ) -> None:
        with pytest.raises(InputError, match="expected a phrase of at most 77 tokens, got 82"):
            segmenter.segment_image(picture(64, 64), ["word " * 80])

    def test_a_threshold_out_of_range(self, segmenter: Segmenter) -> None:
        with pytest.raises(InputError, match="expected a threshold above 0 and below 1, got 1"):
            segmenter.segment_image(picture(64, 64), ["cat"], threshold=1)

    def test_what_is_no_picture(self, segmenter: Segmenter) -> None:
        with pytest.raises(InputError, match="expected a PIL image"):
            segmenter.segment_image("cat.png", ["cat"])  # type: ignore[arg-type]  # on purpose

    @pytest.mark.parametrize("shape", [(2, 4, 8, 8), (1, 3, 8, 8), (4, 8, 8)])
    def test_latents_of_a_wrong_shape(
        self, segmenter: Segmenter, features: Features, shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(InputError, match="expected the latents of one picture"):
            segmenter.segment_features(torch.zeros(shape), features, ["cat"])

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_latents_and_features_that_are_no_numbers(
        self, segmenter: Segmenter, latents: Tensor, features: Features, value: float
    ) -> None:
        spoilt = latents.clone()
        spoilt[0, 0, 0, 0] = value
        with pytest.raises(InputError, match="in the latents"):
            segmenter.segment_features(spoilt, features, ["cat"])
        blocks = {**features.blocks, 8: torch.full_like(features.blocks[8], value)}
        with pytest.raises(InputError, match="in the features of block 8"):
            segmenter.segment_features(latents, blocks, ["cat"])

    def test_a_tap_that_is_missing(
        self, segmenter: Segmenter, latents: Tensor, features: Features
    ) -> None:
        blocks = {block: feature for block, feature in features.blocks.items() if block != 10}
        for given in (blocks, Features(blocks, 400.0, "sampling")):
            with pytest.raises(InputError, match="capture block 10 too"):
                segmenter.segment_features(latents, given, ["cat"])
        with pytest.raises(InputError, match="capture block 6 too"):
            segmenter.segment_features(latents, None, ["cat"])

    def test_rows_of_features_that_fit_neither_picture_nor_phrases(
        self, segmenter: Segmenter, backbone: TinyBackbone, latents: Tensor
    ) -> None:
        probed = backbone.probe(latents, ["cat", "dog"])
        with pytest.raises(InputError, match="expected 1 or 3 rows of features in block 6, got 2"):
            segmenter.segment_features(latents, probed, ["cat", "dog"], ["sky"])

    def test_features_of_another_picture_s_size(
        self, segmenter: Segmenter, backbone: TinyBackbone, features: Features
    ) -> None:
        larger = backbone.encode_image(picture(128, 64))
        with pytest.raises(InputError, match="capture them on these very latents"):
            segmenter.segment_features(larger, features, ["cat"])

    def test_a_size_without_pixels(
        self, segmenter: Segmenter, latents: Tensor, features: Features
    ) -> None:
        with pytest.raises(InputError, match="at least 1x1"):
            segmenter.segment_features(latents, features, ["cat"], size=(0, 8))

    def test_a_head_that_overflows_says_so(
        self, backbone: TinyBackbone, latents: Tensor, features: Features
    ) -> None:
        head = tiny_head()
        with torch.no_grad():
            head.out[2].weight.fill_(float("inf"))
        with pytest.raises(InputError, match=r"load the head in float32, or take another"):
            Segmenter(backbone, head).segment_features(latents, features, ["cat"])
