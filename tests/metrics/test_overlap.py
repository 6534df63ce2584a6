"""Overlaps, means and the parting score, against literal pixels and definitions."""

import numpy as np
import pytest

from ldznet_core.metrics.overlap import cumulative_iou, mean_iou, overlap, rate
from ldznet_core.metrics.thresholds import best_of, part


def masks(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def test_overlap_counts_pixels() -> None:
    found = overlap(masks("##..", "##.."), masks(".##.", ".##."))
    assert (found.shared, found.either, found.iou) == (2, 6, 2 / 6)


def test_two_empty_masks_agree() -> None:
    assert overlap(masks("..", ".."), masks("..", "..")).iou == 1.0


def test_mean_and_cumulative_iou_differ_by_what_they_weigh() -> None:
    overlaps = [
        overlap(masks("#...", "...."), masks("#...", "....")),
        overlap(masks("####", "####"), masks("....", "####")),
    ]
    assert mean_iou(overlaps) == pytest.approx((1 + 0.5) / 2)
    assert cumulative_iou(overlaps) == pytest.approx(5 / 9)


def test_iou_agrees_with_sets_of_pixels() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        one, other = draw.random((2, 7, 9)) > draw.random()
        pixels, others = (set(zip(*np.nonzero(mask), strict=True)) for mask in (one, other))
        expected = len(pixels & others) / len(pixels | others)
        assert overlap(one, other).iou == pytest.approx(expected)


def test_nothing_measured_is_no_number() -> None:
    assert np.isnan(mean_iou([]))
    assert np.isnan(cumulative_iou([]))
    assert np.isnan(rate([]))


def test_the_best_threshold_is_the_first_of_the_highest_mean() -> None:
    bad, good = (overlap(masks(row), masks("##..")) for row in ("#...", "##.."))
    assert best_of({0.2: [bad, good], 0.4: [good, good], 0.6: [good, good]}) == (0.4, 1.0)


def test_the_parting_score_lies_between_what_is_there_and_what_is_not() -> None:
    assert 0.4 < part([0.9, 0.8, 0.7], [0.1, 0.4, 0.2]) < 0.7


def test_the_parting_score_rejects_the_share_that_it_promises() -> None:
    absent = [number / 100 for number in range(100)]
    cut = part([0.995, 0.97, 0.3], absent, rejected=0.9)
    assert np.mean(np.asarray(absent) < cut) >= 0.9
    assert 0.9 < cut < 0.97


@pytest.mark.parametrize(("present", "absent"), [([1e-5], [1e-6]), ([1.0], [1.0, 1.0])])
def test_the_parting_score_is_one_that_a_head_may_have(
    present: list[float], absent: list[float]
) -> None:
    assert 0 < part(present, absent) < 1
