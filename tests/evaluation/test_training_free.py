"""Ways to masks without a trained head, measured: against loops, literal maps, and users' masks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.cli import main
from ldznet_core.evaluation.cases import Case, cases
from ldznet_core.evaluation.comparison.figures import (
    THRESHOLDS,
    Chosen,
    Tally,
    Verdict,
    choose,
    cost_of,
    figures,
    precision_and_ious,
    shares,
    table,
    tally,
)
from ldznet_core.evaluation.comparison.sight import Sight
from ldznet_core.evaluation.comparison.ways import Answer, Way
from ldznet_core.evaluation.masks import evaluate_masks
from ldznet_core.evaluation.training_free.controls import (
    central_cluster,
    centre_map,
    distance_map,
    random_maps,
)
from ldznet_core.evaluation.training_free.sheet import draw_sheet
from ldznet_core.evaluation.training_free.ways import ways_to_compare
from ldznet_core.metrics.overlap import overlap
from ldznet_core.miniature import Miniature
from ldznet_core.probe import probe_noise
from ldznet_core.training_free import LAYERS
from ldznet_core.training_free.places import places_of


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


@pytest.fixture(scope="module")
def case() -> Case:
    return next(cases("small", "iid", 1, 128))


@pytest.fixture(scope="module")
def sight(miniature: Miniature, case: Case) -> Sight:
    return Sight(miniature, case)


@pytest.fixture(scope="module")
def painted(miniature: Miniature, case: Case) -> Sight:
    return Sight(miniature, case, is_painted=True)


@pytest.fixture(scope="module")
def ways(miniature: Miniature) -> dict[str, Way]:
    default = Segmenter(miniature, load_head("training-free"))
    return ways_to_compare(default, {"miniature": Segmenter(miniature, load_head("miniature"))})


def verdict(ious: list[float], presence: float = 1.0, kind: str = "thing") -> Verdict:
    return Verdict(kind, presence, 0.5, tuple(ious))  # type: ignore[arg-type]


def test_every_way_answers_every_phrase(ways: dict[str, Way], sight: Sight) -> None:
    for name, way in ways.items():
        answer = way(sight)
        assert len(answer.maps) == len(answer.presence) == len(sight.phrases), name
        assert bool(answer.maps.isfinite().all()), name
        assert bool(answer.presence.isfinite().all()), name


def test_the_default_is_what_users_get(
    ways: dict[str, Way], sight: Sight, case: Case, miniature: Miniature
) -> None:
    segmenter = Segmenter(miniature, load_head("training-free"))
    given = segmenter.segment_image(Image.fromarray(case.scene.image), sight.phrases)
    answer = next(iter(ways.values()))(sight)
    assert torch.equal(answer.maps, given.probabilities)
    assert answer.presence.tolist() == pytest.approx(given.scores)


def test_plain_products_are_those_of_loops(ways: dict[str, Way], sight: Sight) -> None:
    layers = LAYERS["miniature"]
    attention = sight.attention(layers)
    expected = torch.zeros(len(sight.phrases), *sight.size)
    for words in map(attention.words.__getitem__, layers.words):
        heads, positions, width = words.queries.shape
        block = torch.zeros(len(sight.phrases), positions)
        for phrase, count in enumerate(attention.counts):
            for head in range(heads):
                for token in range(1, 1 + count):
                    key = words.keys[phrase, head, token]
                    products = words.queries[head] @ key / width**0.5
                    block[phrase] += products / heads / count
        side = int(positions**0.5)
        finer = block.reshape(-1, 1, side, side)
        if side < sight.size[0]:
            finer = torch.nn.functional.interpolate(
                finer, sight.size, mode="bicubic", align_corners=False
            )
        expected += finer[:, 0] / len(layers.words)
    given = ways["words by plain dot product"](sight)
    torch.testing.assert_close(given.maps, expected, atol=1e-4, rtol=1e-4)


def test_a_noise_difference_is_that_of_two_passes(sight: Sight, miniature: Miniature) -> None:
    noise = probe_noise(sight.latents, torch.Generator().manual_seed(3))
    noisy = miniature.schedule.add_noise(sight.latents, noise, 500)
    timestep = torch.tensor([500.0])
    with torch.inference_mode():
        with_phrase = miniature.unet(noisy, timestep, miniature.encode_text(sight.phrases[:1]))
        without = miniature.unet(noisy, timestep, miniature.encode_text([""]))
    expected = ((with_phrase - without) ** 2).sum(dim=1).sqrt()
    given = sight.noise_difference(3, 500.0)[:1]
    torch.testing.assert_close(given, expected, atol=1e-4, rtol=1e-4)


class TestScenesPaintedAnew:
    def test_they_are_nearly_the_scenes_and_the_same_each_time(
        self, painted: Sight, sight: Sight, miniature: Miniature, case: Case
    ) -> None:
        again = Sight(miniature, case, is_painted=True)
        assert torch.equal(painted.latents, again.latents)
        far = (sight.latents - sight.latents.roll(8, 3)).abs().mean()
        assert 0 < (painted.latents - sight.latents).abs().mean() < 0.75 * far

    def test_what_was_captured_is_the_prompt_s_own_of_each_pass(self, painted: Sight) -> None:
        assert [step.timestep for step in painted.steps] == [*range(449, 0, -50)]
        for captured in painted.steps:
            assert captured.source == "sampling"
            assert set(captured.blocks) == {*places_of(LAYERS["miniature"]), *range(1, 17)}
            assert {len(each) for each in captured.blocks.values()} == {1}

    def test_heads_read_it_as_users_do(self, painted: Sight, miniature: Miniature) -> None:
        segmenters = {
            name: Segmenter(miniature, load_head(name)) for name in ("training-free", "miniature")
        }
        default = segmenters.pop("training-free")
        ways = ways_to_compare(default, segmenters, are_painted=True)
        heard = {name: way for name, way in ways.items() if name.endswith("while sampling")}
        assert len(heard) == 2
        for way, segmenter in zip(heard.values(), (default, *segmenters.values()), strict=True):
            answer = way(painted)
            captured = segmenter.aim.nearest(painted.steps)
            given = segmenter.segment_features(painted.latents, captured, painted.phrases)
            at = 99.0 if segmenter is default else 399.0
            assert (given.source, given.timestep) == ("sampling", at)
            assert torch.equal(answer.maps, given.probabilities)
            assert answer.presence.tolist() == pytest.approx(given.scores)

    def test_of_scenes_that_are_not_nothing_was_captured(
        self, ways: dict[str, Way], sight: Sight
    ) -> None:
        assert sight.steps == ()
        assert not any("captured" in name for name in ways)

    def test_their_masks_are_measured_by_what_was_captured(
        self, miniature: Miniature, painted: Sight, case: Case
    ) -> None:
        segmenter = Segmenter(miniature, load_head("training-free"))
        found = evaluate_masks(segmenter, [case], painter=miniature)
        captured = segmenter.aim.nearest(painted.steps)
        given = segmenter.segment_features(
            painted.latents, captured, painted.phrases, threshold=None
        )
        absent = [phrase.is_absent for phrase in case.phrases]
        rejected = [not each for each, is_ in zip(given.found, absent, strict=True) if is_]
        assert found.rejected_absent == rejected


def test_a_sight_asks_for_the_same_pass_once(sight: Sight) -> None:
    layers = LAYERS["miniature"]
    assert sight.attention(layers) is sight.attention(layers)
    assert sight.noise_difference(0, 500.0) is sight.noise_difference(0, 500.0)


def test_everything_is_as_precise_as_the_thing_is_large(
    ways: dict[str, Way], miniature: Miniature, case: Case
) -> None:
    name = "control: everything"
    found = tally({name: ways[name]}, miniature, [case])[name]
    present = [phrase for phrase in case.phrases if not phrase.is_absent]
    for each, phrase in zip(found.verdicts, present, strict=True):
        assert each.precision == pytest.approx(case.mask(phrase).mean())
        assert each.ious[0] == pytest.approx(case.mask(phrase).mean())
    assert len(found.absent) == len(case.phrases) - len(present)


def test_precision_agrees_with_a_threshold_at_each_value() -> None:
    draw = np.random.default_rng(0)
    values = draw.integers(0, 9, (6, 7)).astype(np.float32) / 8  # with many ties
    truth = draw.random((6, 7)) > 0.6
    expected, before = 0.0, 0
    for value in sorted(set(values.ravel().tolist()), reverse=True):
        mask = values >= value
        right = int((mask & truth).sum())
        expected += right / mask.sum() * (right - before) / truth.sum()
        before = right
    assert precision_and_ious(values, truth)[0] == pytest.approx(expected)


def test_ious_are_those_of_masks_above_each_threshold() -> None:
    draw = np.random.default_rng(0)
    values, truth = draw.random((40, 50)).astype(np.float32), draw.random((40, 50)) > 0.6
    for threshold, iou in zip(THRESHOLDS, precision_and_ious(values, truth)[1], strict=True):
        expected = overlap(values > threshold, truth).iou
        assert iou == pytest.approx(expected, abs=2e-3)  # values are sorted into levels


def test_maps_are_cut_as_shares_of_their_range_and_probabilities_as_they_are() -> None:
    maps = torch.tensor([[[0.2, 0.4], [0.3, 0.2]]])
    share = shares(Answer(maps, torch.zeros(1)), (2, 2))
    torch.testing.assert_close(share, torch.tensor([[[0.0, 1.0], [0.5, 0.0]]]))
    assert torch.equal(shares(Answer(maps, torch.zeros(1), is_probability=True), (2, 2)), maps)


def test_the_presence_that_is_chosen_rejects_four_in_five() -> None:
    absent = np.random.default_rng(0).random(37).tolist()
    chosen = choose(Tally([], absent))
    assert np.mean(np.array(absent) < chosen.presence) >= 0.8
    assert sum(each < chosen.presence for each in absent) == 30  # and no more than it must


def test_a_way_that_cannot_tell_rejects_everything() -> None:
    assert choose(Tally([], [0.0] * 5)).presence > 0


def test_the_mask_threshold_that_is_chosen_has_the_best_mean() -> None:
    ious = [0.0] * len(THRESHOLDS)
    ious[7] = 0.9
    given = Tally([verdict(ious), verdict([0.3] * len(THRESHOLDS))], [0.0])
    assert choose(given).mask == THRESHOLDS[7]


def test_what_is_not_found_counts_as_an_empty_mask() -> None:
    full = [0.8] * len(THRESHOLDS)
    given = Tally([verdict(full, 0.9), verdict(full, 0.1), verdict(full, 0.9, "stuff")], [0.2, 0.6])
    found = figures(given, Chosen(0.5, 0.5), cost=1.0)
    assert (found.things_miou, found.things_gated_miou) == pytest.approx((0.8, 0.4))
    assert found.stuff_gated_miou == pytest.approx(0.8)
    assert (found.things_found, found.absent_rejected) == (0.5, 0.5)


def test_a_table_has_a_line_for_each_way() -> None:
    nothing = figures(Tally([], [0.0]), Chosen(0.5, 0.5), cost=2.0)
    lines = table({"one": nothing, "two": nothing}).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| one | - |")
    assert len({line.count("|") for line in lines}) == 1


def test_passes_cost_what_passes_cost(
    ways: dict[str, Way], miniature: Miniature, case: Case
) -> None:
    chance = cost_of(ways["control: random"], miniature, case)
    words = cost_of(ways["words"], miniature, case)
    noise = cost_of(ways["noise difference, 1 noise"], miniature, case)
    assert chance < words < noise


def test_random_maps_are_of_their_generator_alone() -> None:
    one, same, other = (
        random_maps(2, (4, 6), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (2, 4, 6)


def test_the_middle_is_highest_in_the_middle_and_alike_on_all_sides() -> None:
    hill = centre_map((5, 9))
    assert int(hill.argmax()) == 2 * 9 + 4
    assert float(hill.max()) == 1.0
    torch.testing.assert_close(hill, hill.flip(0, 1))


def test_distances_are_those_of_a_loop() -> None:
    latents = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    mean = latents[0].reshape(4, -1).mean(dim=1)
    given = distance_map(latents)
    for row in range(3):
        for column in range(5):
            expected = float(((latents[0, :, row, column] - mean) ** 2).sum() ** 0.5)
            assert float(given[row, column]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("clusters", [2, 3, 4])
def test_the_central_cluster_is_the_square_in_the_middle(clusters: int) -> None:
    latents = torch.zeros(1, 4, 9, 12)
    latents[..., 6:] += 0.5  # two kinds of ground
    latents[:, :, 3:6, 4:8] = 9.0
    expected = torch.zeros(9, 12)
    expected[3:6, 4:8] = 1
    assert torch.equal(central_cluster(latents, clusters), expected)


def test_one_colour_is_one_cluster() -> None:
    assert torch.equal(central_cluster(torch.ones(1, 4, 4, 4), 3), torch.ones(4, 4))


def test_a_sheet_is_drawn_of_one_case(miniature: Miniature, case: Case) -> None:
    segmenter = Segmenter(miniature, load_head("training-free"))
    sheet = draw_sheet(miniature, segmenter, [case])
    assert sheet.mode == "RGB"
    assert len(np.unique(np.asarray(sheet))) > 100


def test_masks_are_measured_without_a_trained_head(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--what", "masks", "--head", "training-free", "--count", "1", "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert "presence_threshold" in report["masks of iid"]


def test_no_head_cannot_be_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--what", "calibration", "--head", "training-free", "--count", "1"]
    assert main(words) != 0
    assert "got none: name a trained one" in capsys.readouterr().err


class TestOnlySomeWays:
    def test_of_all_the_command_measures_the_default_and_those_named(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        out = tmp_path / "figures.json"
        words = ["evaluate", "--what", "training-free", "--count", "1", "--validation", "1"]
        words += ["--way", "the middle", "--way", "k = 2", "--out", str(out)]
        assert main(words) == 0
        (measured,) = json.loads(out.read_text(encoding="utf-8")).values()
        assert list(measured) == [
            "**training-free**, the default",
            "control: the middle",
            "control: z-clusters, k = 2",
        ]

    def test_a_name_that_no_way_has_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["evaluate", "--what", "training-free", "--count", "1", "--way", "magic"]
        assert main(words) == 2
        told = capsys.readouterr().err
        assert 'expected a part of a way\'s name, got "magic"' in told
        assert '"control: the middle"' in told


@pytest.mark.slow
def test_the_command_compares_all_ways(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    words = ["evaluate", "--what", "training-free", "--count", "1", "--validation", "1"]
    words += ["--split", "gen", "--other-head", "training-free"]
    assert main([*words, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    (measured,) = json.loads(out.read_text(encoding="utf-8")).values()
    for name in measured:
        assert f"| {name} |" in shown
    assert measured["words"]["cost"] > 0
    for name in ("miniature-compact", "training-free"):
        assert f"trained head `{name}`, captured while sampling" in measured
