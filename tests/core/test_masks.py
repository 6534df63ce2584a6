"""Mask arithmetic on literal numbers."""

from __future__ import annotations

import pytest
import torch

from ldznet_core.masks import (
    assume_present,
    feather,
    grow,
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


class TestGrow:
    def test_a_pixel_becomes_a_square(self) -> None:
        masks = torch.zeros(1, 4, 5)
        masks[0, 1, 3] = 1
        assert grow(masks, 1)[0].tolist() == [
            [0.0, 0.0, 1.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 1.0, 1.0],
            [0.0, 0.0, 0.0, 0.0, 0.0],
        ]

    def test_soft_values_stay_and_the_larger_wins(self) -> None:
        masks = torch.tensor([[[0.25, 0.0, 0.0, 0.0, 0.5]]])
        assert grow(masks, 2).tolist() == [[[0.25, 0.25, 0.5, 0.5, 0.5]]]

    @pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 12, 13, 14, 30])
    def test_each_pixel_is_the_largest_of_the_square_around_it(self, pixels: int) -> None:
        mask = torch.rand(23, 17, generator=torch.Generator().manual_seed(pixels))
        expected = [
            [
                mask[max(0, y - pixels) : y + pixels + 1, max(0, x - pixels) : x + pixels + 1].max()
                for x in range(17)
            ]
            for y in range(23)
        ]
        assert torch.equal(grow(mask[None], pixels)[0], torch.tensor(expected))

    def test_masks_do_not_mix(self) -> None:
        masks = torch.stack([torch.zeros(3, 3), torch.ones(3, 3)])
        assert torch.equal(grow(masks, 1), masks)

    def test_no_pixels_change_nothing(self) -> None:
        masks = torch.rand(2, 3, 4)
        assert torch.equal(grow(masks, 0), masks)

    def test_an_empty_mask_stays_empty_and_any_other_fills_a_small_picture(self) -> None:
        masks = torch.zeros(2, 3, 7)
        masks[1, 2, 6] = 1
        grown = grow(masks, 256)
        assert (grown[0] == 0).all()
        assert (grown[1] == 1).all()

    def test_step_by_step_is_as_far_as_at_once(self) -> None:
        masks = (torch.rand(1, 20, 30, generator=torch.Generator().manual_seed(0)) > 0.98).float()
        assert torch.equal(grow(grow(masks, 2), 3), grow(masks, 5))

    def test_the_masks_given_stay_as_they_were(self) -> None:
        masks = torch.tensor([[[0.0, 1.0]]])
        grow(masks, 1)
        assert masks.tolist() == [[[0.0, 1.0]]]


EDGE = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


class TestFeather:
    @pytest.mark.parametrize(
        ("pixels", "expected"),
        [
            (0, EDGE),
            (1, [0, 0, 1 / 3, 2 / 3, 1, 1]),  # the mean of three
            (2, [0, 1 / 9, 3 / 9, 6 / 9, 8 / 9, 1]),  # and of three of those
            (3, [1 / 15, 3 / 15, 6 / 15, 9 / 15, 12 / 15, 14 / 15]),  # of three, then of five
        ],
    )
    def test_an_edge_fades_as_computed_by_hand(self, pixels: int, expected: list[float]) -> None:
        """The third has the border repeat its 0 and its 1, as if the picture went on."""
        across = torch.tensor([EDGE]).expand(1, 4, 6)
        faded = feather(across, pixels)
        for row in faded[0].tolist():
            assert row == pytest.approx(expected, abs=1e-6)
        assert torch.equal(feather(across.mT, pixels), faded.mT)

    def test_a_corner_fades_to_both_sides(self) -> None:
        masks = torch.zeros(1, 5, 5)
        masks[0, 2:, 2:] = 1
        edge = torch.tensor([0, 1 / 3, 2 / 3, 1, 1])
        torch.testing.assert_close(feather(masks, 1)[0], edge[:, None] * edge, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("pixels", [1, 2, 5, 7, 16, 33])
    def test_further_inside_all_is_1_and_further_outside_0_exactly(self, pixels: int) -> None:
        masks = torch.zeros(1, 120, 130)
        masks[0, 40:110, 45:] = 1
        faded = feather(masks, pixels)
        inside = 1 - grow(1 - masks, pixels)
        outside = grow(masks, pixels) == 0
        assert inside.any()
        assert (faded[inside == 1] == 1).all()
        assert (faded[outside] == 0).all()
        between = faded[(inside == 0) & ~outside]
        assert ((between > 0) & (between < 1)).all()

    @pytest.mark.parametrize("pixels", [1, 9, 256])
    def test_the_border_of_the_picture_is_no_edge(self, pixels: int) -> None:
        whole = torch.ones(1, 11, 17)
        assert torch.equal(feather(whole, pixels), whole)
        half = torch.zeros(1, 11, 40)
        half[..., 30:] = 1
        faded = feather(half, 3)
        assert torch.equal(faded, faded[:, :1].expand_as(faded))

    def test_edges_never_turn_back(self) -> None:
        masks = torch.zeros(1, 1, 60)
        masks[..., 30:] = 1
        steps = feather(masks, 12).diff(dim=-1)
        assert (steps >= 0).all()

    def test_masks_do_not_mix_and_stay_as_they_were(self) -> None:
        masks = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])
        assert torch.equal(feather(masks, 2), masks)
        edge = torch.tensor([[EDGE]])
        feather(edge, 2)
        assert edge.tolist() == [[EDGE]]

    def test_a_single_pixel_is_its_own_picture(self) -> None:
        assert feather(torch.tensor([[[1.0]], [[0.5]]]), 8).tolist() == [[[1.0]], [[0.5]]]


def test_masks_of_absent_things_are_emptied() -> None:
    kept = keep_present(torch.ones(3, 1, 2), torch.tensor([True, False, True]))
    assert kept.tolist() == [[[1.0, 1.0]], [[0.0, 0.0]], [[1.0, 1.0]]]


def test_without_the_doubt_that_a_thing_is_there_its_shape_remains() -> None:
    odds_against_pixels = torch.tensor([[[0.0, 1.0, 3.0]], [[0.0, 1.0, 3.0]]])
    odds_against_things = torch.tensor([0.25, 99.0])
    given = 1 / (1 + odds_against_pixels + odds_against_things[:, None, None])
    found = assume_present(given, 1 / (1 + odds_against_things))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 0.5, 0.25]]] * 2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_shapes_of_what_is_surely_there_or_surely_not_are_finite(value: float) -> None:
    found = assume_present(torch.full((1, 2, 2), value), torch.tensor([value]))
    assert ((found >= 0) & (found <= 1)).all()
