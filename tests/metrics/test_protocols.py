"""Both protocols against slow loops over pixels, written from the definitions, and torchmetrics."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np
import pytest

from ldznet_core import InputError
from ldznet_core.metrics.clipseg import THRESHOLDS, ClipSegTally, simpson
from ldznet_core.metrics.phrasecut import ACCURACIES, PhraseCutTally
from ldznet_core.metrics.ranking import PixelRanking
from ldznet_core.metrics.reliability import Reliability

Sample = tuple[np.ndarray, np.ndarray]

FIXED = 0.45  # not among the 49


def draw_samples(seed: int = 0, count: int = 6, width: int = 9) -> list[Sample]:
    """Probabilities that know something of their truth, of several sizes."""
    draw = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        truth = draw.random((7 + number, width)) < draw.uniform(0.1, 0.6)
        logits = 3 * draw.standard_normal(truth.shape) + 3 * truth - 1
        samples.append(((1 / (1 + np.exp(-logits))).astype(np.float32), truth))
    return samples


def tallied(samples: list[Sample]) -> ClipSegTally:
    tally = ClipSegTally(FIXED)
    for probabilities, truth in samples:
        tally.add(probabilities, truth)
    return tally


def pixels_of(sample: Sample) -> Iterator[tuple[float, bool]]:
    probabilities, truth = sample
    for row, true_row in zip(probabilities.tolist(), truth.tolist(), strict=True):
        yield from zip(row, true_row, strict=True)


def count_pixels(sample: Sample, threshold: float) -> tuple[int, int, int, int]:
    """True and false positives, false and true negatives, one pixel after the other."""
    tp = fp = fn = tn = 0
    for probability, true in pixels_of(sample):
        if probability > threshold:
            tp, fp = tp + true, fp + (not true)
        else:
            fn, tn = fn + true, tn + (not true)
    return tp, fp, fn, tn


def loops(samples: list[Sample], threshold: float) -> dict[str, float]:
    """The protocol's figures at a threshold, each from its definition."""
    counts = [count_pixels(sample, threshold) for sample in samples]
    tp, fp, fn, tn = (sum(each[kind] for each in counts) for kind in range(4))
    return {
        "miou": sum(a / (1 + a + b + c) for a, b, c, _ in counts) / len(counts),
        "iou_fg": tp / (1 + tp + fp + fn),
        "iou_bin": 0.5 * (tp / (1 + tp + fp + fn)) + 0.5 * (tn / (1 + tn + fn + fp)),
        "precision": tp / (1 + tp + fp),
        "recall": tp / (1 + tp + fn),
    }


def integrate_parabolas(points: list[tuple[float, float]]) -> float:
    """Through each three points the one parabola, found and integrated by numpy."""
    total = 0.0
    for start in range(0, len(points) - 2, 2):
        x, y = zip(*points[start : start + 3], strict=True)
        whole = np.polyint(np.polyfit(np.array(x) - x[0], y, 2))
        total += np.polyval(whole, x[2] - x[0])
    return total


class TestClipSeg:
    def test_there_are_49_thresholds_two_per_cent_apart(self) -> None:
        assert len(THRESHOLDS) == 49
        assert THRESHOLDS[0] == 0.02
        assert THRESHOLDS[-1] == 0.98
        assert np.allclose(np.diff(THRESHOLDS), 0.02)

    @pytest.mark.parametrize("name", ["miou", "iou_fg", "iou_bin", "precision", "recall"])
    def test_every_threshold_gives_what_loops_give(self, name: str) -> None:
        samples = draw_samples()
        curve = getattr(tallied(samples).figures().curve, name)
        expected = [loops(samples, threshold)[name] for threshold in THRESHOLDS]
        assert curve == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("name", ["miou", "iou_fg", "iou_bin"])
    def test_the_fixed_threshold_need_not_be_one_of_them(self, name: str) -> None:
        samples = draw_samples()
        figures = tallied(samples).figures()
        assert figures.threshold == FIXED
        assert getattr(figures.fixed, name) == pytest.approx(loops(samples, FIXED)[name])

    @pytest.mark.parametrize("name", ["miou", "iou_fg", "iou_bin"])
    def test_best_is_the_highest_of_the_49_and_says_where(self, name: str) -> None:
        samples = draw_samples()
        best = getattr(tallied(samples).figures(), f"best_{name}")
        by_threshold = {each: loops(samples, each)[name] for each in THRESHOLDS}
        assert best.value == pytest.approx(max(by_threshold.values()))
        assert by_threshold[best.threshold] == pytest.approx(best.value)

    def test_the_precision_is_integrated_over_recalls_as_they_are(self) -> None:
        samples = draw_samples(width=300)  # so many that no two thresholds have one recall
        found = [loops(samples, threshold) for threshold in THRESHOLDS]
        points = sorted({(each["recall"], each["precision"]) for each in found})
        assert len({recall for recall, _ in points}) == len(points) == 49
        expected = integrate_parabolas(points)
        assert tallied(samples).figures().ap == pytest.approx(expected, abs=1e-9)
        assert points[0][0] > 0.1  # so much of the recall is left out

    def test_a_literal_mask_has_one_pixel_more_below_the_line(self) -> None:
        tally = ClipSegTally(0.5)
        tally.add(np.float32([[0.9, 0.9], [0.1, 0.1]]), np.array([[True, False], [True, False]]))
        figures = tally.figures()
        assert figures.fixed.iou_fg == 1 / (1 + 3)
        assert figures.fixed.miou == 1 / (1 + 3)
        assert figures.fixed.iou_bin == (1 / 4 + 1 / 4) / 2

    def test_a_pixel_at_the_threshold_is_outside(self) -> None:
        tally = ClipSegTally(0.3)
        tally.add(np.full((1, 8), 0.3, dtype=np.float32), np.ones((1, 8), dtype=np.bool_))
        assert tally.figures().fixed.iou_fg == 0
        assert tally.figures().best_iou_fg.value == 8 / 9

    def test_where_nothing_is_taken_there_is_no_precision(self) -> None:
        tally = ClipSegTally(0.5)
        tally.add(np.zeros((2, 2), dtype=np.float32), np.ones((2, 2), dtype=np.bool_))
        figures = tally.figures()
        assert figures.ap is None
        assert figures.curve.precision == (None,) * 49
        assert figures.best_miou.value == 0

    def test_points_that_agree_count_once(self) -> None:
        tally = ClipSegTally(0.5)
        probabilities = np.float32([[0.995, 0.995, 0.7, 0.3, 0.001]])
        tally.add(probabilities, np.array([[True, False, True, True, False]]))
        # (1/4, 1/3) from 0.7 on, (2/4, 2/4) from 0.3 on, (3/4, 3/5) below: one parabola.
        assert tally.figures().ap == pytest.approx((1 / 4) / 3 * (1 / 3 + 4 * 2 / 4 + 3 / 5))

    def test_truths_of_another_shape_are_refused(self) -> None:
        with pytest.raises(InputError, match="shape"):
            ClipSegTally(0.5).add(np.zeros((2, 3), dtype=np.float32), np.zeros((3, 2), dtype=bool))

    def test_no_phrases_have_no_figures(self) -> None:
        with pytest.raises(InputError, match="at least one phrase"):
            ClipSegTally(0.5).figures()


class TestSimpson:
    @pytest.mark.parametrize("count", [3, 5, 9, 49])
    def test_parabolas_are_exact_at_any_distances(self, count: int) -> None:
        x = np.sort(np.random.default_rng(count).random(count))
        found = simpson(x.tolist(), (3 * x**2 - 2 * x + 1).tolist())
        assert found == pytest.approx((x**3 - x**2 + x)[-1] - (x**3 - x**2 + x)[0])

    @pytest.mark.parametrize("count", [2, 4, 10])
    def test_of_an_even_number_both_ends_are_taken_for_straight_once(self, count: int) -> None:
        draw = np.random.default_rng(count)
        x, y = np.sort(draw.random(count)), draw.random(count)
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        first, last = ((x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2 for i in (0, count - 2))
        early = integrate_parabolas(points[:-1]) + last
        late = first + integrate_parabolas(points[1:])
        assert simpson(x.tolist(), y.tolist()) == pytest.approx((early + late) / 2)

    def test_one_point_has_no_area(self) -> None:
        assert simpson([0.4], [0.9]) == 0

    def test_points_above_each_other_are_no_error(self) -> None:
        assert simpson([0, 1, 1], [1, 1, 0]) == 1


class TestPhraseCut:
    def test_figures_are_those_of_sets_of_pixels(self) -> None:
        samples = draw_samples(1, count=12)
        tally = PhraseCutTally()
        ious, shared, either = [], 0, 0
        for probabilities, truth in samples:
            mask = probabilities > 0.5
            tally.add(mask, truth)
            one, other = (set(zip(*np.nonzero(each), strict=True)) for each in (mask, truth))
            ious.append(len(one & other) / len(one | other))
            shared, either = shared + len(one & other), either + len(one | other)
        figures = tally.figures()
        assert figures.mean_iou == pytest.approx(sum(ious) / len(ious))
        assert figures.cumulative_iou == pytest.approx(shared / either)
        expected = [sum(iou > share for iou in ious) / len(ious) for share in ACCURACIES]
        assert figures.accuracy == pytest.approx(expected)
        assert 0 < figures.accuracy[0] < 1

    def test_an_iou_of_one_half_is_not_above_one_half(self) -> None:
        tally = PhraseCutTally()
        tally.add(np.array([[True, True]]), np.array([[True, False]]))
        assert tally.figures().accuracy == (0, 0, 0, 0, 0)

    def test_a_missing_mask_counts_as_an_empty_one(self) -> None:
        truth = np.array([[True, True], [False, False]])
        missing, empty = PhraseCutTally(), PhraseCutTally()
        for tally in (missing, empty):
            tally.add(truth, truth)
        missing.add(None, truth)
        empty.add(np.zeros_like(truth), truth)
        figures = missing.figures()
        assert (figures.mean_iou, figures.cumulative_iou) == (0.5, 0.5)
        assert figures.accuracy == (0.5,) * 5
        assert (figures.missing, empty.figures().missing) == (1, 0)
        assert empty.figures().mean_iou == figures.mean_iou

    def test_two_empty_masks_share_nothing(self) -> None:
        tally = PhraseCutTally()
        tally.add(np.zeros((2, 2), dtype=bool), np.zeros((2, 2), dtype=bool))
        assert (tally.figures().mean_iou, tally.figures().cumulative_iou) == (0, 0)

    def test_masks_of_another_size_are_refused(self) -> None:
        with pytest.raises(InputError, match="size of the picture"):
            PhraseCutTally().add(np.zeros((2, 3), dtype=bool), np.zeros((3, 2), dtype=bool))

    def test_no_phrases_have_no_figures(self) -> None:
        with pytest.raises(InputError, match="at least one phrase"):
            PhraseCutTally().figures()


def ranked(samples: list[Sample]) -> PixelRanking:
    ranking = PixelRanking()
    for probabilities, truth in samples:
        ranking.add(probabilities, truth)
    return ranking


class TestPixelRanking:
    def test_it_is_the_mean_precision_down_to_each_true_pixel(self) -> None:
        samples = draw_samples(2)
        pixels = sorted((pixel for sample in samples for pixel in pixels_of(sample)), reverse=True)
        right, precisions = 0, []
        for taken, (_, true) in enumerate(pixels, start=1):
            right += true
            if true:
                precisions.append(right / taken)
        expected = sum(precisions) / len(precisions)
        assert ranked(samples).average_precision() == pytest.approx(expected, abs=2e-3)

    def test_pixels_of_one_probability_are_taken_together(self) -> None:
        probabilities = np.full((2, 2), 0.7, dtype=np.float32)
        ranking = ranked([(probabilities, np.array([[True, False], [False, False]]))])
        assert ranking.average_precision() == 0.25

    @pytest.mark.parametrize("near", [0.0, 1e-6, 0.3, 0.5, 0.9, 0.9999])
    def test_close_probabilities_keep_their_order(self, near: float) -> None:
        step = max(1e-7, min(near, 1 - near) / 200)
        pair = np.float32([near, min(near + step, 1)])
        assert ranked([(pair, np.array([False, True]))]).average_precision() == 1
        assert ranked([(pair, np.array([True, False]))]).average_precision() == 0.5

    def test_without_true_pixels_there_is_no_precision(self) -> None:
        samples = [(np.zeros((2, 2), dtype=np.float32), np.zeros((2, 2), dtype=bool))]
        assert ranked(samples).average_precision() is None

    def test_it_agrees_with_torchmetrics(self) -> None:
        metrics = pytest.importorskip("torchmetrics", reason="the other implementation")
        torch = pytest.importorskip("torch")
        samples = draw_samples(3, count=20)
        probabilities = torch.tensor(np.concatenate([each.ravel() for each, _ in samples]))
        truths = torch.tensor(np.concatenate([each.ravel() for _, each in samples])).long()
        expected = metrics.functional.classification.binary_average_precision(probabilities, truths)
        assert ranked(samples).average_precision() == pytest.approx(float(expected), abs=2e-3)


def told(samples: list[Sample], bins: int = 20) -> Reliability:
    reliability = Reliability(bins)
    for probabilities, truth in samples:
        reliability.add(probabilities, truth)
    return reliability


class TestReliability:
    def test_the_error_is_that_of_loops(self) -> None:
        samples = draw_samples(4)
        pixels = [pixel for sample in samples for pixel in pixels_of(sample)]
        error = 0.0
        for number in range(20):
            inside = [each for each in pixels if min(int(each[0] * 20), 19) == number]
            stated, true = (sum(each[kind] for each in inside) for kind in (0, 1))
            error += abs(stated - true) / len(pixels)
        figures = told(samples).figures()
        assert figures is not None
        assert figures.error == pytest.approx(error)
        assert sum(each.count for each in figures.bins) == figures.count == len(pixels)

    def test_a_forecast_that_holds_has_no_error(self) -> None:
        reliability = Reliability()
        reliability.add([0.8] * 5, [True, True, True, True, False])
        reliability.add([1.0, 0.0], [True, False])
        figures = reliability.figures()
        assert figures is not None
        assert figures.error == pytest.approx(0)
        assert [each.count for each in figures.bins] == [1, 5, 1]

    def test_certainty_that_errs_has_the_greatest(self) -> None:
        reliability = Reliability()
        reliability.add([1.0, 0.0], [False, True])
        figures = reliability.figures()
        assert figures is not None
        assert figures.error == 1

    def test_nothing_stated_has_no_figures(self) -> None:
        assert Reliability().figures() is None

    def test_it_agrees_with_torchmetrics(self) -> None:
        metrics = pytest.importorskip("torchmetrics", reason="the other implementation")
        torch = pytest.importorskip("torch")
        samples = draw_samples(5, count=20)
        probabilities = torch.tensor(np.concatenate([each.ravel() for each, _ in samples]))
        truths = torch.tensor(np.concatenate([each.ravel() for _, each in samples])).long()
        expected = metrics.functional.classification.binary_calibration_error(
            probabilities, truths, n_bins=20
        )
        figures = told(samples).figures()
        assert figures is not None
        assert figures.error == pytest.approx(float(expected), abs=1e-5)


def test_ious_agree_with_torchmetrics_on_many_pixels() -> None:
    metrics = pytest.importorskip("torchmetrics", reason="the other implementation")
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(6)
    truth = draw.random((300, 400)) < 0.3
    probabilities = np.clip(0.5 * truth + 0.6 * draw.random(truth.shape), 0, 1).astype(np.float32)
    tally, masks = ClipSegTally(FIXED), PhraseCutTally()
    tally.add(probabilities, truth)
    masks.add(probabilities > FIXED, truth)
    expected = metrics.functional.classification.binary_jaccard_index(
        torch.tensor(probabilities), torch.tensor(truth).long(), threshold=FIXED
    )
    assert masks.figures().mean_iou == pytest.approx(float(expected), abs=1e-6)
    # One pixel more in a denominator of some 50,000.
    assert tally.figures().fixed.iou_fg == pytest.approx(float(expected), abs=1e-4)


def test_no_tally_grows_with_what_it_counts() -> None:
    samples = draw_samples()
    sizes = []
    for times in (1, 30):
        tallies = (tallied(samples * times), ranked(samples * times), told(samples * times))
        masks = PhraseCutTally()
        for probabilities, truth in samples * times:
            masks.add(probabilities > 0.5, truth)
        sizes.append([len(pickle.dumps(vars(each))) for each in (*tallies, masks)])
    assert np.allclose(*sizes, atol=32)  # a number may take a few bytes more
