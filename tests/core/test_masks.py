"""Mask arithmetic on literal numbers."""

from __future__ import annotations

import pytest
import torch

from ldznet_core.masks import (
    keep_present,
    presence_scores,
    resize,
    subtract,
    threshold_mask,
    union,
)


class TestResize:
    def test_doubling_interpolates_between_pixel_centres(self) -> None:
        """align_corners=False: new centres lie at -1/4, 1/4, 3/4 and 5/4 of the old ones."""
        doubled = resize(torch.tensor([[[0.0, 4.0]]]), (1, 4))
        assert doubled.tolist() == [[[0.0, 1.0, 3.0, 4.0]]]

    def test_phrases_do_not_mix(self) -> None:
        resized = resize(torch.tensor([[[1.0]], [[5.0]]]), (2, 3))
        assert resized.tolist() == [[[1.0] * 3] * 2, [[5.0] * 3] * 2]

    def test_the_same_size_changes_nothing(self) -> None:
        logits = torch.randn(2, 3, 5)
        assert torch.equal(resize(logits, (3, 5)), logits)


class TestPresenceScores:
    def test_of_two_hundred_pixels_the_best_two_count(self) -> None:
        probabilities = torch.full((1, 10, 20), 0.1)
        probabilities[0, 3, 7] = 0.9
        probabilities[0, 9, 19] = 0.7
        assert presence_scores(probabilities).tolist() == pytest.approx([0.8])

    def test_of_a_few_pixels_the_best_counts(self) -> None:
        assert presence_scores(torch.tensor([[[0.2, 0.6]]])).tolist() == pytest.approx([0.6])

    def test_each_phrase_has_its_own(self) -> None:
        probabilities = torch.stack([torch.full((4, 4), 0.25), torch.full((4, 4), 0.75)])
        assert presence_scores(probabilities).tolist() == [0.25, 0.75]


def test_a_pixel_at_the_threshold_is_outside() -> None:
    probabilities = torch.tensor([[[0.49, 0.5, 0.51]]])
    assert threshold_mask(probabilities, 0.5).tolist() == [[[0.0, 0.0, 1.0]]]


def test_a_union_covers_what_any_mask_covers() -> None:
    masks = torch.tensor([[[1.0, 0.0, 0.25]], [[0.0, 0.0, 0.5]]])
    assert union(masks).tolist() == [[1.0, 0.0, 0.5]]


def test_the_union_of_no_masks_is_empty() -> None:
    assert union(torch.empty(0, 2, 3)).tolist() == [[0.0] * 3] * 2


def test_subtraction_takes_away_in_proportion() -> None:
    masks = torch.tensor([[[1.0, 1.0, 0.5]], [[0.0, 1.0, 1.0]]])
    removed = torch.tensor([[1.0, 0.25, 0.0]])
    assert subtract(masks, removed).tolist() == [[[0.0, 0.75, 0.5]], [[0.0, 0.75, 1.0]]]


def test_masks_of_absent_things_are_emptied() -> None:
    kept = keep_present(torch.ones(3, 1, 2), torch.tensor([True, False, True]))
    assert kept.tolist() == [[[1.0, 1.0]], [[0.0, 0.0]], [[1.0, 1.0]]]
