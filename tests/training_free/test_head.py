"""The head without weights: its logits written out, what it finds and does not, what it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ldznet_core.capture import Features, capturing
from ldznet_core.errors import InputError, UnsupportedModelError
from ldznet_core.frames import padded_side
from ldznet_core.probe import probe_noise
from ldznet_core.procedure import Procedure
from ldznet_core.segmentation import Request, Segmentation, read_logits
from ldznet_core.segmenter import Segmenter
from ldznet_core.taps import find_taps
from ldznet_core.training_free import (
    LAYERS,
    Attention,
    Place,
    TrainingFree,
    TrainingFreeHead,
    find_places,
)
from ldznet_core.training_free import links as links_module
from ldznet_core.training_free.attention import Words
from ldznet_core.training_free.links import Link, Links, link_matrix

from ..core.tiny import TinyBackbone, tiny_head
from . import literal
from .small import (
    FAMILY_OF,
    UNETS,
    WIDTH,
    SmallBackbone,
    attention_for,
    count_hooks,
    noise,
    run,
    small_unet,
)

SIZES = [(16, 16), (8, 16), (5, 9), (13, 7)]
PRESENCE_ALONE = set(LAYERS["miniature"].presence_words) - set(LAYERS["miniature"].words)
LONG = " ".join(f"word{index}" for index in range(75))


def head_for(name: str) -> TrainingFreeHead:
    return TrainingFree().for_family(FAMILY_OF[name])


def segmenter(name: str = "ours", phrases_per_pass: int = 16) -> Segmenter:
    return Segmenter(SmallBackbone(name), TrainingFree(), phrases_per_pass=phrases_per_pass)


class TestTheFormula:
    @pytest.mark.parametrize("size", [(8, 16), (5, 9)])
    @pytest.mark.parametrize("name", UNETS)
    def test_the_whole_path_written_out_gives_the_same(
        self, name: str, size: tuple[int, int]
    ) -> None:
        padded = (padded_side(size[0], 8), padded_side(size[1], 8))
        attention = attention_for(name, (3, 6), padded)
        head = head_for(name)
        expected = literal.logits(attention, head.config.layers, padded, size)
        for source in ("probe", "sampling"):
            read = replace(attention, source=source)
            logits = head(noise(1, 4, *size), noise(2, 77, WIDTH), read)
            assert logits.shape == (2, 1, 8 * size[0], 8 * size[1])
            literal.assert_near(logits[:, 0], expected)

    def test_without_steps_the_words_alone_are_read(self) -> None:
        attention, head = attention_for("sd1", (3, 6), (16, 16)), head_for("sd1")
        still = TrainingFreeHead(replace(head.config, layers=replace(head.config.layers, walk=0)))
        blocks = [
            literal.block_scores(words, attention.counts) for words in attention.words.values()
        ]
        expected = (sum(blocks[1:], blocks[0]) / len(blocks)).reshape(2, 4, 4)
        blocks = head.config.layers.words
        literal.assert_near(still.scores(attention, (16, 16), blocks), expected)

    def test_padding_is_cut_before_the_lowest_and_the_highest_are_read(self) -> None:
        """So that what stands in the padding decides nothing."""
        attention = square_attention(corner=(6, 6))  # outside of what 10x10 latents show
        logits = head_for("ours")(noise(1, 4, 10, 10), noise(1, 77, WIDTH), attention)
        assert logits.shape == (1, 1, 80, 80)
        assert logits.max() < 0

    def test_logits_end_where_presence_says(self) -> None:
        attention, head = attention_for("sd1", (3,), (16, 16)), head_for("sd1")
        for presence in (-1.0, 1.0):
            layers = replace(head.config.layers, presence=presence)
            strict = TrainingFreeHead(replace(head.config, layers=layers))
            logits = strict(noise(1, 4, 16, 16), noise(1, 77, WIDTH), attention)
            highest = logits.max().item()
            assert highest == pytest.approx(6) if presence < 0 else highest < -10

    def test_other_blocks_than_the_mask_s_tell_whether_it_is_there(self) -> None:
        attention = square_attention()
        absent = square_attention(axis=-1).words
        words = {
            block: absent[block] if block in PRESENCE_ALONE else each
            for block, each in attention.words.items()
        }
        logits = read(attention, ["square"]).logits
        doubted = read(replace(attention, words=words), ["square"]).logits
        assert logits.max() > 0 > doubted.max()


class TestWhatIsFound:
    def test_a_thing_that_is_there_is_masked_and_no_more(self) -> None:
        answer = read(square_attention(), ["square"])
        assert answer.found == [True]
        assert answer.scores[0] > 0.9
        inside = torch.zeros(128, 128)
        inside[32:80, 32:80] = 1
        both = (answer.masks[0] * inside).sum()
        either = (answer.masks[0] + inside).clamp_max(1).sum()
        assert both / either > 0.9

    @pytest.mark.parametrize(
        ("axis", "most"),
        [(2, 0.2), (-1, 0.4)],  # bicubic maps overshoot, so the opposite comes a little above 0
        ids=["unrelated", "opposite"],
    )
    def test_a_thing_that_is_not_there_has_an_empty_mask_and_a_low_score(
        self, axis: int, most: float
    ) -> None:
        answer = read(square_attention(axis=axis), ["absent"])
        assert answer.found == answer.present == [False]
        assert answer.scores[0] < most
        assert answer.masks.sum() == 0
        assert answer.probabilities.max() < 0.5

    def test_what_is_the_same_everywhere_is_nothing(self) -> None:
        attention = square_attention()
        flat = {
            block: Words(torch.ones_like(words.queries), words.keys)
            for block, words in attention.words.items()
        }
        answer = read(replace(attention, words=flat), ["everything"])
        assert answer.masks.sum() == 0
        assert answer.logits.isfinite().all()

    def test_queries_of_nothing_are_absent_and_finite(self) -> None:
        attention = square_attention()
        mute = {
            block: Words(torch.zeros_like(words.queries), words.keys)
            for block, words in attention.words.items()
        }
        answer = read(replace(attention, words=mute), ["silence"])
        assert answer.logits.isfinite().all()
        assert answer.found == [False]

    def test_a_word_that_all_of_a_picture_likes_a_little_is_not_there(self) -> None:
        """Its highest score, 0.28, would do, were the others' not 0.25."""
        attention = square_attention()
        keys = torch.zeros(1, 2, 77, 4)
        keys[:, :, 1] = torch.tensor([0.9, 0.8, 3.0, 0.0])
        liked = {block: Words(each.queries, keys) for block, each in attention.words.items()}
        assert read(replace(attention, words=liked), ["anything"]).found == [False]

    def test_a_thing_that_fills_most_of_the_picture_is_there(self) -> None:
        answer = read(square_attention(axis=1), ["all but the square"])
        assert answer.found == [True]
        assert answer.masks.mean() > 0.8


class TestSegmenting:
    @pytest.mark.parametrize("name", UNETS)
    @pytest.mark.parametrize("size", SIZES)
    def test_latents_of_any_size_give_masks_of_their_picture(
        self, name: str, size: tuple[int, int]
    ) -> None:
        answer = segmenter(name).segment_latents(noise(1, 4, *size), ["cat", "red dog"], ["sky"])
        assert answer.masks.shape == (2, 8 * size[0], 8 * size[1])
        assert answer.logits.isfinite().all()
        assert (answer.source, answer.timestep) == ("probe", 100.0)

    @pytest.mark.parametrize("name", UNETS)
    def test_the_same_input_gives_the_same_bits(self, name: str) -> None:
        latents = noise(1, 4, 8, 16)
        first, second = (
            segmenter(name).segment_latents(latents, ["cat", "red dog"]) for _ in range(2)
        )
        assert torch.equal(first.logits, second.logits)

    @pytest.mark.parametrize("name", UNETS)
    @pytest.mark.parametrize("phrases_per_pass", [1, 2, 16])
    def test_a_phrase_has_the_same_logits_in_any_company(
        self, name: str, phrases_per_pass: int
    ) -> None:
        latents, phrases = noise(1, 4, 8, 16), ["cat", "a red dog", LONG]
        together = segmenter(name, phrases_per_pass).segment_latents(latents, phrases)
        for index, phrase in enumerate(phrases):
            alone = segmenter(name).segment_latents(latents, [phrase])
            literal.assert_near(together.logits[index], alone.logits[0])

    @pytest.mark.parametrize("article", ["the", "a", "An"])
    def test_an_article_changes_nothing(self, article: str) -> None:
        latents, small = noise(1, 4, 8, 16), segmenter()
        features = small.backbone.probe(latents, [""], t=100.0, taps_of=head_for("ours").taps_of)
        bare, said = ["red dog", "sky"], [f"{article} red dog", f"{article} sky"]
        for ask in (
            lambda texts: small.segment_latents(latents, texts[:1], texts[1:]),
            lambda texts: small.segment_features(latents, features, texts[:1], texts[1:]),
        ):
            assert torch.equal(ask(said).logits, ask(bare).logits)
            assert ask(said).phrases == (said[0],)

    def test_a_negative_does_not_change_a_phrase_s_logits(self) -> None:
        latents = noise(1, 4, 8, 16)
        alone = segmenter().segment_latents(latents, ["cat"])
        without = segmenter().segment_latents(latents, ["cat"], ["dog"])
        literal.assert_near(alone.logits, without.logits)

    def test_a_phrase_may_have_77_tokens_and_no_more(self) -> None:
        latents = noise(1, 4, 8, 8)
        answer = segmenter().segment_latents(latents, [LONG, "cat"])
        assert answer.logits.isfinite().all()
        with pytest.raises(InputError, match="at most 77 tokens, got 78"):
            segmenter().segment_latents(latents, [f"{LONG} more"])

    @pytest.mark.parametrize("name", UNETS)
    def test_features_that_were_captured_give_what_a_probe_gives(self, name: str) -> None:
        backbone, head, latents = SmallBackbone(name), head_for(name), noise(1, 4, 13, 7)
        features = backbone.probe(latents, [""], t=100.0, taps_of=head.taps_of)
        answer = segmenter(name).segment_features(latents, features, ["cat", "dog"])
        probed = segmenter(name).segment_latents(latents, ["cat", "dog"])
        assert torch.equal(answer.logits, probed.logits)

    def test_no_hook_outlives_an_error_in_the_unet(self) -> None:
        backbone = SmallBackbone("ours")
        handle = backbone.unet.get_submodule("middle_block").register_forward_pre_hook(fail)
        try:
            with pytest.raises(KeyboardInterrupt):
                Segmenter(backbone, TrainingFree()).segment_latents(noise(1, 4, 8, 8), ["cat"])
        finally:
            handle.remove()
        assert count_hooks(backbone.unet) == 0

    @pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
    @pytest.mark.parametrize(("rows", "columns"), [(rows, 29 - rows) for rows in range(9, 17)])
    def test_a_host_s_own_pass_need_not_have_been_padded(
        self, name: str, rows: int, columns: int
    ) -> None:
        """A1111, ComfyUI and diffusers all take latents in whole eighths of no multiple of 8."""
        unet, latents = small_unet(name), noise(1, 4, rows, columns)
        with torch.no_grad(), capturing(unet, find_places(unet, LAYERS[name])) as capture:
            run(unet, latents, noise(1, 77, WIDTH), 400)
        features = capture.features(400, "sampling")
        answer = segmenter(name).segment_features(latents, features, ["cat"])
        assert answer.masks.shape == (1, 8 * rows, 8 * columns)

    @pytest.mark.parametrize("name", ["sd1", "sdxl"])
    def test_a_pass_that_was_not_padded_differs_little_from_one_that_was(self, name: str) -> None:
        """60x64 latents under the same noise; what is below them in the probe is their own edge."""
        backbone, head, latents = SmallBackbone(name), head_for(name), noise(1, 4, 60, 64)
        probed = backbone.probe(latents, [""], t=400.0, taps_of=head.taps_of)
        drawn = probe_noise(noise(1, 4, 64, 64))[:, :, :60]
        noisy = backbone.schedule.add_noise(latents, drawn, 400.0)
        with torch.no_grad(), capturing(backbone.unet, head.taps_of(backbone.unet)) as capture:
            run(backbone.unet, noisy, backbone.encode_text([""]), 400)
        sampled = capture.features(400, "probe")
        asked = ["cat", "red dog"]
        one, other = (
            segmenter(name).segment_features(latents, each, asked) for each in (probed, sampled)
        )
        assert one.masks.shape == other.masks.shape == (2, 480, 512)
        assert (one.logits - other.logits).abs().mean() < 0.25 * one.logits.std()


class TestPassesOfAPicture:
    """What is the same for all phrases is made once, however they are portioned."""

    @pytest.fixture
    def counted(self) -> CountingBackbone:
        return CountingBackbone("ours")

    @pytest.mark.parametrize("phrases_per_pass", [1, 2, 16])
    def test_one_probe_serves_all_phrases(
        self, counted: CountingBackbone, phrases_per_pass: int
    ) -> None:
        told: list[int] = []
        segmenter = Segmenter(
            counted,
            TrainingFree(),
            phrases_per_pass=phrases_per_pass,
            on_pass=lambda: told.append(1),
        )
        segmenter.segment_latents(noise(1, 4, 8, 8), ["cat", "dog", "owl"], ["sky"])
        assert counted.probes == 1
        assert len(told) == -(-4 // phrases_per_pass)

    def test_the_links_become_a_matrix_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []

        def count(links: Iterable[Link]) -> Tensor:
            made.append(1)
            return link_matrix(links)

        monkeypatch.setattr(links_module, "link_matrix", count)
        asked, latents = ["cat", "dog", "owl"], noise(1, 4, 8, 8)
        segmenter("ours", 1).segment_latents(latents, asked)
        assert len(made) == 1
        segmenter("ours", 1).segment_features(latents, some_features(), asked)
        assert len(made) == 2

    def test_each_timestep_of_a_procedure_has_its_probe(self, counted: CountingBackbone) -> None:
        how = Procedure(timesteps=(300.0, 500.0))
        segmenter = Segmenter(counted, TrainingFree(), phrases_per_pass=1, procedure=how)
        answer = segmenter.segment_latents(noise(1, 4, 8, 8), ["cat", "dog"])
        assert counted.probes == 2
        several = [
            Segmenter(counted, TrainingFree(), procedure=Procedure(timesteps=(t,))).segment_latents(
                noise(1, 4, 8, 8), ["cat", "dog"]
            )
            for t in how.timesteps
        ]
        mean = (several[0].logits + several[1].logits) / 2
        literal.assert_near(answer.logits, mean)

    def test_a_phrase_that_is_too_long_is_refused_before_any_pass(
        self, counted: CountingBackbone
    ) -> None:
        small = Segmenter(counted, TrainingFree(), phrases_per_pass=1)
        with pytest.raises(InputError, match="at most 77 tokens"):
            small.segment_latents(noise(1, 4, 8, 8), ["cat", f"{LONG} more"])
        assert counted.probes == 0


class TestWhatIsRefused:
    def test_queries_that_are_no_numbers(self) -> None:
        features = some_features()
        place = Place(3, "words.query")
        broken = {**features.blocks, place: features.blocks[place] * torch.nan}
        with pytest.raises(
            InputError, match=r"NaN or infinity in the features of words\.query of block 3: "
        ):
            segmenter().segment_features(
                noise(1, 4, 8, 8), replace(features, blocks=broken), ["cat"]
            )

    def test_a_unet_that_gives_no_numbers(self) -> None:
        backbone = SmallBackbone("ours")
        module = find_places(backbone.unet, LAYERS["miniature"])[Place(3, "words.query")].module
        handle = module.register_forward_hook(lambda _module, _inputs, output: output * torch.nan)
        try:
            with pytest.raises(InputError, match="infinity in the logits of the head: "):
                Segmenter(backbone, TrainingFree()).segment_latents(noise(1, 4, 8, 8), ["cat"])
        finally:
            handle.remove()

    def test_features_of_a_trained_head(self) -> None:
        backbone = SmallBackbone("ours")
        features = backbone.probe(noise(1, 4, 8, 8), ["cat"], taps_of=find_taps)
        with pytest.raises(
            InputError, match=r"expected one row of links\.query in block 12, got no"
        ):
            segmenter().segment_features(noise(1, 4, 8, 8), features, ["cat"])

    def test_and_a_trained_head_refuses_what_was_captured_for_this_one(self) -> None:
        trained = Segmenter(TinyBackbone(), tiny_head())
        with pytest.raises(InputError, match="expected features of blocks"):
            trained.segment_features(noise(1, 4, 8, 8), some_features(), ["cat"])

    def test_a_missing_place(self) -> None:
        features = some_features()
        rest = {place: each for place, each in features.blocks.items() if place.block != 13}
        with pytest.raises(
            InputError, match=r"expected one row of links\.query in block 13, got no"
        ):
            segmenter().segment_features(noise(1, 4, 8, 8), replace(features, blocks=rest), ["cat"])

    def test_a_row_for_each_phrase(self) -> None:
        features = some_features()
        twice = {place: each.expand(2, -1, -1) for place, each in features.blocks.items()}
        with pytest.raises(InputError, match=r"expected one row of .*, got 2 rows"):
            segmenter().segment_features(
                noise(1, 4, 8, 8), replace(features, blocks=twice), ["cat", "dog"]
            )

    @pytest.mark.parametrize("given", [None, {}, {3: torch.ones(1, 2, 2, 2)}], ids=str)
    def test_what_are_no_features(self, given: dict[int, Tensor] | None) -> None:
        with pytest.raises(InputError, match="expected attention captured as `Features`"):
            segmenter().segment_features(noise(1, 4, 8, 8), given, ["cat"])

    @pytest.mark.parametrize("given", [None, {}, Features({}, 400.0, "probe")], ids=str)
    def test_a_head_called_with_what_is_no_attention(self, given: Features | None) -> None:
        with pytest.raises(InputError, match="expected attention captured for masks without"):
            head_for("ours")(noise(1, 4, 8, 8), noise(1, 77, WIDTH), given)

    def test_attention_of_other_latents(self) -> None:
        with pytest.raises(InputError, match="expected attention over latents of 24x24, halved"):
            segmenter().segment_features(noise(1, 4, 24, 24), some_features(), ["cat"])

    @pytest.mark.parametrize("family", ["flux", "sd3"])
    def test_a_family_that_is_not_known_yet(self, family: str) -> None:
        backbone = SmallBackbone("ours")
        backbone.family = family
        with pytest.raises(UnsupportedModelError, match=f"got '{family}': .*cannot be read yet"):
            Segmenter(backbone, TrainingFree())

    def test_a_model_that_does_not_show_its_attention(self) -> None:
        class Closed:
            def __init__(self, backbone: SmallBackbone) -> None:
                self.family, self.stride = backbone.family, backbone.stride
                self.encode_image, self.encode_text = backbone.encode_image, backbone.encode_text
                self.probe = backbone.probe

        with pytest.raises(UnsupportedModelError, match="got 'miniature': choose a trained head"):
            Segmenter(Closed(SmallBackbone("ours")), TrainingFree()).segment_latents(
                noise(1, 4, 8, 8), ["cat"]
            )

    def test_a_head_of_another_family(self) -> None:
        with pytest.raises(UnsupportedModelError, match="expected a head for 'miniature'"):
            Segmenter(SmallBackbone("ours"), head_for("sd1"))


class CountingBackbone(SmallBackbone):
    """Counts the passes that are made for probes."""

    probes = 0

    def probe(self, *args: Any, **options: Any) -> Features:
        self.probes += 1
        return super().probe(*args, **options)


def some_features() -> Features:
    """What was captured of 8x8 latents on our UNet."""
    backbone, head = SmallBackbone("ours"), head_for("ours")
    return backbone.probe(noise(1, 4, 8, 8), [""], t=100.0, taps_of=head.taps_of)


def fail(*_: object) -> None:
    raise KeyboardInterrupt


def square_attention(corner: tuple[int, int] = (2, 2), axis: int = 0) -> Attention:
    """Of 16x16 latents on which 3x3 positions of 8x8 ask for axis 0, the others for axis 1.

    The phrase answers along an axis of 4; of -1 against axis 0. Each kind sees its own.
    """
    kinds = torch.ones(8, 8, dtype=torch.long)
    kinds[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3] = 0
    queries = torch.eye(4)[kinds.flatten()][None].expand(2, -1, -1)
    keys = torch.zeros(1, 2, 77, 4)
    keys[:, :, 1, abs(axis) if axis >= 0 else 0] = -3.0 if axis < 0 else 3.0
    layers = LAYERS["miniature"]
    return Attention(
        {block: Words(queries, keys) for block in layers.asking},
        Links({block: Link(9 * queries, 9 * queries) for block in layers.links}),
        (1,),
        100.0,
        "probe",
    )


def read(attention: Attention, phrases: Sequence[str]) -> Segmentation:
    logits = head_for("ours")(noise(1, 4, 16, 16), noise(1, 77, WIDTH), attention)
    request = Request.checked(phrases, (), 0.5)
    return read_logits(logits[:, 0], request, (128, 128), 0.5)
