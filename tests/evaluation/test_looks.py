"""What a trained head is shown, compared: each way reads what it says, and gains are honest."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ldznet_core import Segmenter, load_head, load_miniature, save_head
from ldznet_core.capture import EARLY, LATE
from ldznet_core.cli import main
from ldznet_core.errors import InputError
from ldznet_core.evaluation.cases import Case, cases
from ldznet_core.evaluation.comparison.figures import THRESHOLDS, Chosen, Tally, Verdict, figures
from ldznet_core.evaluation.comparison.gains import Compared, Gain, gain, gains, table_with_gains
from ldznet_core.evaluation.comparison.sight import Sight
from ldznet_core.evaluation.comparison.spread import Several, Spread, spreads, table_of_spreads
from ldznet_core.evaluation.comparison.ways import Way, by_capture, by_segmenter
from ldznet_core.evaluation.looks import looks_to_compare
from ldznet_core.miniature import Miniature
from ldznet_core.procedure import Procedure
from ldznet_core.world import caption

HEADS = {"miniature": "phrase", "miniature-compact": "nothing"}
"""The heads, and under which text users' probes show them a picture."""


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


@pytest.fixture(scope="module")
def case() -> Case:
    """A scene, asked for a thing and for something absent."""
    whole = next(cases("small", "iid", 1, 128))
    return replace(whole, phrases=(whole.phrases[0], whole.phrases[-1]))


@pytest.fixture(scope="module")
def sight(miniature: Miniature, case: Case) -> Sight:
    return Sight(miniature, case, is_painted=True)


@pytest.fixture(scope="module", params=HEADS)
def segmenter(request: pytest.FixtureRequest, miniature: Miniature) -> Segmenter:
    return Segmenter(miniature, load_head(request.param))


@pytest.fixture(scope="module")
def ways(segmenter: Segmenter) -> dict[str, Way]:
    return looks_to_compare(segmenter, are_painted=True)


def probabilities(way: Way, sight: Sight) -> torch.Tensor:
    return way(sight).maps


def by_hand(
    segmenter: Segmenter,
    sight: Sight,
    texts: Sequence[str],
    t: float | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """Logits of a pass that the test makes itself, at the head's own timestep or another."""
    generator = torch.Generator().manual_seed(seed)
    t = segmenter.head.config.timestep if t is None else t
    taps_of = segmenter.head.taps_of
    features = sight.miniature.probe(sight.latents, texts, t, generator, taps_of)
    return segmenter.segment_features(sight.latents, features, sight.phrases).logits


class TestEachWay:
    def test_the_first_is_what_users_get(
        self, ways: dict[str, Way], segmenter: Segmenter, sight: Sight
    ) -> None:
        given, expected = next(iter(ways.values()))(sight), by_segmenter(segmenter)(sight)
        torch.testing.assert_close(given.maps, expected.maps)
        torch.testing.assert_close(given.presence, expected.presence)

    def test_probes_are_made_under_the_text_that_is_named(
        self, ways: dict[str, Way], segmenter: Segmenter, sight: Sight
    ) -> None:
        texts = {
            "under the phrase": sight.phrases,
            "under the caption": [caption(sight.case.scene.layout, plain=True)],
            "under no text": [""],
        }
        maps = []
        for name, under in texts.items():
            (way,) = (way for title, way in ways.items() if name in title)
            maps.append(probabilities(way, sight))
            torch.testing.assert_close(maps[-1], by_hand(segmenter, sight, under).sigmoid())
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not torch.allclose(maps[one], maps[other], atol=1e-4)

    @pytest.mark.parametrize("t", [300, 500, 999])
    def test_other_timesteps_are_read_alone(
        self, ways: dict[str, Way], segmenter: Segmenter, sight: Sight, t: int
    ) -> None:
        own = [""] if segmenter.head.config.probes_once else sight.phrases
        (way,) = (
            way for title, way in ways.items() if title.removeprefix("control: ") == f"t = {t}"
        )
        expected = by_hand(segmenter, sight, own, t).sigmoid()
        torch.testing.assert_close(probabilities(way, sight), expected)

    def test_the_mean_over_timesteps_is_that_of_users_who_ask_for_it(
        self, ways: dict[str, Way], segmenter: Segmenter, sight: Sight
    ) -> None:
        procedure = Procedure(timesteps=(300, 400, 500))
        asked = Segmenter(sight.miniature, segmenter.head, procedure=procedure)
        expected = by_segmenter(asked)(sight)
        given = ways["t = 300, 400, 500, logits averaged"](sight)
        torch.testing.assert_close(given.maps, expected.maps)
        torch.testing.assert_close(given.presence, expected.presence)

    def test_noises_differ_and_their_logits_are_averaged(
        self, ways: dict[str, Way], segmenter: Segmenter, sight: Sight
    ) -> None:
        own = [""] if segmenter.head.config.probes_once else sight.phrases
        each = torch.stack([by_hand(segmenter, sight, own, seed=seed) for seed in (0, 1, 2)])
        assert not torch.allclose(each[1], each[2], atol=1e-3)
        given = probabilities(ways["control: 3 noises, logits averaged"], sight)
        torch.testing.assert_close(given, each.mean(dim=0).sigmoid())

    def test_the_features_of_several_passes_are_averaged_before_the_head(
        self, ways: dict[str, Way], segmenter: Segmenter, sight: Sight
    ) -> None:
        several = [step.blocks for step in sight.steps if segmenter.aim.takes(step.timestep)]
        count = len(several)
        assert count == (6 if segmenter.aim == LATE else 3)
        mean = {
            key: sum(each[key] for each in several) / count for key in segmenter.head.config.taps
        }
        expected = segmenter.segment_features(sight.latents, mean, sight.phrases).probabilities
        given = probabilities(ways["captured at each step, features averaged"], sight)
        torch.testing.assert_close(given, expected)

    def test_the_mean_of_one_timestep_and_of_one_noise_is_that_one(
        self, segmenter: Segmenter, sight: Sight
    ) -> None:
        usual = segmenter.head.config.timestep
        ways = looks_to_compare(segmenter, timesteps=(usual,), seeds=(0,))
        expected = probabilities(next(iter(ways.values())), sight)
        averages = [name for name in ways if "averaged" in name]
        assert len(averages) == 4
        for name in averages:
            torch.testing.assert_close(probabilities(ways[name], sight), expected)

    def test_what_was_captured_is_read_as_users_read_it(
        self, ways: dict[str, Way], segmenter: Segmenter, sight: Sight
    ) -> None:
        given = ways["captured while sampling"](sight)
        expected = by_capture(segmenter)(sight)
        torch.testing.assert_close(given.maps, expected.maps)
        torch.testing.assert_close(given.presence, expected.presence)
        elsewhere = ways[f"captured at t = {100 if segmenter.aim == EARLY else 400}"](sight)
        segmenters_own = f"captured at t = {segmenter.aim.timestep:.0f}"
        assert segmenters_own not in ways
        assert not torch.equal(elsewhere.maps, given.maps)

    def test_scenes_as_they_are_have_nothing_captured(self, segmenter: Segmenter) -> None:
        assert not [name for name in looks_to_compare(segmenter) if "captured" in name]


def test_each_pass_is_made_once_for_all_ways_and_again_for_a_fresh_sight(
    ways: dict[str, Way], sight: Sight
) -> None:
    passes: list[int] = []
    handle = sight.miniature.unet.register_forward_pre_hook(
        lambda unet, inputs: passes.append(len(inputs[0]))
    )
    several, one = ways["t = 300, 400, 500, logits averaged"], ways["t = 300"]
    try:
        fresh = sight.afresh()
        for way in (several, one):
            way(fresh)
        assert len(passes) == 3
        one(sight.afresh())
        assert len(passes) == 4
    finally:
        handle.remove()


def test_a_head_that_reads_no_features_has_nothing_to_compare(miniature: Miniature) -> None:
    with pytest.raises(InputError, match="reads features"):
        looks_to_compare(Segmenter(miniature, load_head("training-free")))


def verdict(iou: float, scene: int, *, presence: float = 1.0, precision: float = 0.5) -> Verdict:
    return Verdict("thing", presence, precision, (iou,) * len(THRESHOLDS), scene)


class TestGains:
    def test_a_way_gains_nothing_over_itself(self) -> None:
        tally = Tally([verdict(0.3, 0), verdict(0.8, 1)], [0.1])
        found = gains(tally, Chosen(0.5, 0.5), tally, Chosen(0.5, 0.5))
        assert found["things_miou"] == Gain(0, 0, 0)
        assert found["stuff_miou"] is None

    def test_it_is_the_difference_of_the_figures(self) -> None:
        one = Tally([verdict(0.9, 0), verdict(0.5, 1, presence=0.2)], [0.1])
        other = Tally([verdict(0.4, 0), verdict(0.3, 1, precision=0.2)], [0.1])
        chosen = Chosen(0.5, 0.5)
        found = gains(one, chosen, other, chosen)
        reached = [figures(each, chosen, cost=0) for each in (one, other)]
        for name in ("things_precision", "things_miou", "things_gated_miou", "things_found"):
            expected = getattr(reached[0], name) - getattr(reached[1], name)
            gained = found[name]
            assert gained is not None
            assert gained.difference == pytest.approx(expected)

    def test_the_interval_is_that_of_the_normal_distribution_for_many_scenes(self) -> None:
        drawn = np.random.default_rng(0).normal(0.3, 2.0, 400)
        found = gain(range(400), drawn.tolist())
        reach = 1.96 * drawn.std() / 20
        assert found.difference == pytest.approx(drawn.mean(), abs=1e-6)
        assert (found.low, found.high) == pytest.approx(
            (drawn.mean() - reach, drawn.mean() + reach), abs=0.1 * reach
        )

    def test_more_phrases_of_the_same_scenes_are_no_more_sure(self) -> None:
        drawn = np.random.default_rng(0).normal(0.3, 2.0, 50)
        once = gain(range(50), drawn.tolist())
        four_times = gain(np.repeat(range(50), 4).tolist(), np.repeat(drawn, 4).tolist())
        assert four_times == once

    def test_it_is_the_same_each_time(self) -> None:
        assert gain([0, 1, 2], [0.1, 0.5, 0.2]) == gain([0, 1, 2], [0.1, 0.5, 0.2])

    def test_only_a_gain_whose_interval_leaves_0_out_is_bold(self) -> None:
        tally = Tally([verdict(0.5, 0)], [0.1])
        reached = figures(tally, Chosen(0.5, 0.5), cost=2.0)
        sure, chance = Gain(0.1, 0.02, 0.2), Gain(0.1, -0.02, 0.2)
        table = table_with_gains(
            {
                "default": Compared(reached, {}),
                "other": Compared(reached, {"things_precision": sure, "things_miou": chance}),
            }
        )
        default, other = (line.split(" | ") for line in table.splitlines()[2:])
        assert default[2] == "-"
        assert other[2] == "**+0.100** (+0.020 to +0.200)"
        assert other[4] == "+0.100 (-0.020 to +0.200)"


class TestSeveralHeads:
    """What heads of several seeds have in common."""

    def heads(self, *gained: float) -> list[dict[str, Compared]]:
        tally = Tally([verdict(0.5, 0)], [0.1])
        reached = figures(tally, Chosen(0.5, 0.5), cost=2.0)
        return [
            {
                "default": Compared(replace(reached, things_miou=0.5), {}),
                "other": Compared(
                    replace(reached, things_miou=0.5 + each),
                    {"things_miou": Gain(each, -1, 1), "stuff_precision": None},
                ),
            }
            for each in gained
        ]

    def test_figures_and_gains_are_means_between_the_lowest_and_the_highest(self) -> None:
        found = spreads(self.heads(0.1, 0.3, 0.2))
        assert found["other"].heads == 3
        assert found["other"].figures["things_miou"] == Spread(0.7, 0.6, 0.8)
        assert found["other"].gains == {"things_miou": Spread(0.2, 0.1, 0.3)}
        assert found["default"].gains == {}

    def test_only_a_gain_that_every_head_has_is_bold(self) -> None:
        lines = [table_of_spreads(spreads(self.heads(0.1, last))) for last in (0.2, -0.2)]
        sure, chance = (line.splitlines()[3].split(" | ") for line in lines)
        assert sure[3:5] == ["0.65 (0.60 to 0.70)", "**+0.150** (+0.100 to +0.200)"]
        assert chance[4] == "-0.050 (-0.200 to +0.100)"
        assert sure[6] == "-"  # no scene shows stuff

    def test_heads_with_ways_of_their_own_have_nothing_in_common(self) -> None:
        one, other = self.heads(0.1, 0.2)
        assert spreads([one, {"default": other["default"]}]) == {}

    def test_they_are_stored_as_json(self) -> None:
        (way,) = list(spreads(self.heads(0.1, 0.2)).values())[1:]
        stored = Several.from_json(json.loads(json.dumps(asdict(way))))
        assert table_of_spreads({"way": stored}) == table_of_spreads({"way": way})


@pytest.mark.slow
def test_the_command_tells_what_two_heads_have_in_common(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    twin = tmp_path / "twin"
    save_head(load_head("miniature-compact"), twin)
    words = ["evaluate", "--what", "looks", "--split", "iid", "--count", "1", "--validation", "1"]
    words += ["--way", "t = 300", "--head", "miniature-compact", "--other-head", str(twin)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"looks of `{twin}` on iid, 1 scenes:" in shown
    common = shown.partition("looks of 2 heads on iid, 1 scenes:")[2]
    default, _, other, *_ = (line.split(" | ") for line in common.strip().splitlines()[2:])
    assert default[2] == "-"
    mean, low, high = re.findall(r"[-+]\d\.\d+", other[4])
    assert mean == low == high


def test_the_command_wants_a_head_that_reads_features(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--what", "looks", "--head", "training-free", "--count", "1"]
    assert main(words) == 2
    assert "expected a trained head that reads features" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_compares_the_looks_of_every_head(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    words = ["evaluate", "--what", "looks", "--split", "gen", "--count", "2", "--validation", "1"]
    words += ["--head", "miniature", "--other-head", "miniature-compact", "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    report = json.loads(out.read_text(encoding="utf-8"))
    assert [name.split("`")[1] for name in report] == list(HEADS)
    for (title, measured), text in zip(report.items(), HEADS.values(), strict=True):
        assert f"{title}:" in shown
        default, *others = measured.values()
        assert {"phrase": "under the phrase", "nothing": "under no text"}[text] in next(
            iter(measured)
        )
        assert default["gains"] == {}
        for each in others:
            gained = each["gains"]["things_miou"]
            difference = each["figures"]["things_miou"] - default["figures"]["things_miou"]
            assert gained["difference"] == pytest.approx(difference, abs=1e-5)
            assert gained["low"] <= gained["difference"] <= gained["high"]
