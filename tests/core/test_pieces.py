"""Masks split into pieces: drawn by hand, and against a flood that goes from pixel to pixel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor

from ldznet_core import InputError, pieces
from ldznet_core.masks import feather, union
from ldznet_core.pieces import LEAST_AREA, ORDERS, Order, split

Pixel = tuple[int, int]
Owners = dict[Pixel, set[int]]
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


def drawn(*rows: str) -> Tensor:
    """A mask: ``#`` is 1, a digit so many tenths, all else 0."""
    values = {".": 0.0, "#": 1.0, **{str(tenths): tenths / 10 for tenths in range(10)}}
    return torch.tensor([[values[sign] for sign in row] for row in rows])


def shown(masks: Tensor) -> list[list[str]]:
    """Masks as `drawn` takes them."""
    signs = ".123456789#"
    return [
        ["".join(signs[round(10 * value)] for value in row) for row in mask]
        for mask in masks.tolist()
    ]


class TestWhatHangsTogether:
    def test_two_things_become_two_masks(self) -> None:
        assert shown(split(drawn("##..#", "##..#"), 0)) == [["##...", "##..."], ["....#", "....#"]]

    def test_a_corner_is_enough(self) -> None:
        for mask in (drawn("#..", ".#.", "..#"), drawn("..#", ".#.", "#..")):
            assert torch.equal(split(mask, 0), mask[None])

    def test_a_gap_of_one_pixel_is_enough_to_part(self) -> None:
        assert len(split(drawn("#.#.#", ".....", "#.#.#"), 0)) == 6

    def test_the_end_of_a_row_does_not_touch_the_start_of_the_next(self) -> None:
        assert len(split(drawn("..#", "#.."), 0)) == 2
        assert len(split(drawn("..#", "...", "#.."), 0)) == 2

    def test_what_meets_further_down_is_one(self) -> None:
        mask = drawn("#.#.#.#", "#.#.#.#", "#.#.###", "###...#", "..#####")
        assert torch.equal(split(mask, 0), mask[None])

    def test_a_ring_and_what_it_encloses_are_two(self) -> None:
        found = split(drawn("#####", "#...#", "#.#.#", "#...#", "#####"), 0, order="largest first")
        assert [int(mask.sum()) for mask in found] == [16, 1]

    def test_a_pixel_at_the_edge_is_outside(self) -> None:
        assert len(split(drawn("#5#"), 0)) == 2
        assert len(split(drawn("#6#"), 0)) == 1

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (5, 3)])
    def test_a_full_mask_is_one_piece(self, size: Pixel) -> None:
        assert torch.equal(split(torch.ones(size)), torch.ones(1, *size))

    @pytest.mark.parametrize("level", [0.0, 0.5])
    def test_nothing_has_no_pieces(self, level: float) -> None:
        assert split(torch.full((3, 4), level)).shape == (0, 3, 4)


class TestSoftValues:
    def test_a_piece_keeps_its_soft_edge(self) -> None:
        found = split(drawn(".258852.", "........", "...27..."), 0)
        assert shown(found) == [
            [".258852.", "........", "........"],
            ["........", "........", "...27..."],
        ]

    def test_where_two_edges_meet_each_has_its_half(self) -> None:
        assert shown(split(drawn("#4321234#"), 0)) in (
            [["#4321...."], [".....234#"]],
            [["#432....."], ["....1234#"]],
        )

    def test_a_pixel_goes_to_the_piece_beside_it_before_that_across_a_corner(self) -> None:
        for mask in (drawn("#..", ".3#"), drawn("..#", "#3.")):
            across = split(mask.flip(0), 0, order="largest first")
            assert [float(each[0, 1]) for each in across].count(0) == 1
            owner = int(across[:, 0, 1].argmax())
            assert across[owner, 0].count_nonzero() == 2

    def test_a_soft_pixel_goes_round_a_gap_not_across(self) -> None:
        found = split(drawn("#333", "....", "33.#"), 0)
        assert shown(found) == [
            ["#333", "....", "...."],
            ["....", "....", "...#"],
        ]

    def test_what_touches_no_piece_is_of_none(self) -> None:
        assert shown(split(drawn("#2..4", "....5"), 0)) == [["#2...", "....."]]

    def test_what_belongs_to_a_dropped_piece_goes_with_it(self) -> None:
        assert shown(split(drawn("##43#"), 0, most=1)) == [["##4.."]]

    def test_a_feathered_thing_alone_stays_as_it_is(self) -> None:
        mask = torch.zeros(40, 40)
        mask[10:30, 12:28] = 1
        soft = feather(mask[None], 8)
        assert 0 < soft[soft > 0].min() < 0.1
        assert torch.equal(split(soft[0]), soft)

    def test_the_end_of_a_labyrinth_is_of_none(self) -> None:
        mask = torch.zeros(21, 20)
        mask[::2] = 0.3
        mask[1::4, -1] = mask[3::4, 0] = 0.3
        mask[0, 0] = 1
        (found,) = split(mask, 0)
        assert found[0].tolist() == mask[0].tolist()
        assert found[-1].sum() == 0
        _compare(mask.numpy())


class TestOrder:
    MASK = drawn(
        "......##",
        "#.......",
        "........",
        "...###..",
        "...###..",
    )

    @pytest.mark.parametrize(
        ("order", "areas"),
        [
            ("left to right", [1, 6, 2]),
            ("top to bottom", [2, 1, 6]),
            ("largest first", [6, 2, 1]),
        ],
    )
    def test_is_as_asked(self, order: Order, areas: list[int]) -> None:
        assert [int(mask.sum()) for mask in split(self.MASK, 0, order=order)] == areas

    def test_the_most_are_chosen_by_size_whatever_the_order(self) -> None:
        found = {each: split(self.MASK, 0, 2, each) for each in ORDERS}
        areas = {each: [int(mask.sum()) for mask in masks] for each, masks in found.items()}
        assert list(areas.values()) == [[6, 2], [2, 6], [6, 2]]

    def test_goes_by_centres_not_by_first_pixels(self) -> None:
        found = split(drawn("#......", "#.#....", "#......", "#######"), 0)
        assert [int(mask.sum()) for mask in found] == [1, 10]

    def test_of_equal_centres_the_larger_comes_first_and_then_the_upper(self) -> None:
        mask = drawn(".#.", "...", "###", "...", ".#.")
        tops = [int(each.nonzero()[0, 0]) for each in split(mask, 0)]
        assert tops == [2, 0, 4]
        tops = [int(each.nonzero()[0, 0]) for each in split(mask, 0, order="largest first")]
        assert tops == [2, 0, 4]


class TestArea:
    def test_is_in_percent_of_the_picture(self) -> None:
        mask = torch.zeros(10, 20)
        mask[0, 0] = mask[2, 0:2] = mask[4, 0:3] = 1  # 0.5, 1 and 1.5 %
        for least, left in ((0, 3), (0.5, 3), (0.51, 2), (1, 2), (1.5, 1), (1.51, 0), (100, 0)):
            assert len(split(mask, least)) == left, least

    @pytest.mark.parametrize("pixels", range(1, 101, 3))
    def test_a_piece_of_just_this_area_is_kept(self, pixels: int) -> None:
        mask = torch.zeros(100, 100)
        mask[50, :pixels] = 1
        assert len(split(mask, pixels / 100)) == 1
        assert len(split(mask, pixels / 100 + 0.01)) == 0

    def test_counts_what_is_above_the_edge_alone(self) -> None:
        mask = drawn("#444444444")
        assert len(split(mask, 10)) == 1
        assert len(split(mask, 11)) == 0

    def test_crumbs_are_dropped_by_default(self) -> None:
        mask = torch.zeros(100, 100)
        mask[0, :9] = mask[50, :10] = 1
        (found,) = split(mask)
        assert LEAST_AREA == 0.1
        assert found.sum() == found[50].sum() == 10

    def test_a_full_mask_has_all_of_it(self) -> None:
        assert len(split(torch.ones(7, 9), 100)) == 1


class TestTensors:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool])
    def test_dtype_is_kept(self, dtype: torch.dtype) -> None:
        found = split(drawn("#2.#").to(dtype), 0)
        assert found.dtype == dtype
        assert torch.equal(union(found.float()), drawn("#2.#").to(dtype).float())

    def test_the_mask_is_not_written_to_nor_shared(self) -> None:
        mask = drawn("##.4")
        found = split(mask, 0)
        found += 1
        assert torch.equal(mask, drawn("##.4"))

    def test_a_mask_may_lie_anyhow_in_memory(self) -> None:
        mask = drawn("##..", "..3#", "....")
        assert torch.equal(split(mask.t(), 0, order="top to bottom"), split(mask, 0).mT)

    def test_gradients_flow_to_the_mask(self) -> None:
        mask = drawn("#2.#").requires_grad_()
        split(mask, 0, 1)[0].sum().backward()  # type: ignore[no-untyped-call] # torch has no types here
        assert mask.grad is not None
        assert mask.grad.tolist() == [[1.0, 1.0, 0.0, 0.0]]

    def test_what_is_not_a_number_is_of_no_piece(self) -> None:
        mask = drawn("##.#")
        mask[0, 2] = torch.nan
        assert shown(split(mask, 0)) == [["##.."], ["...#"]]


class TestRefusals:
    @pytest.mark.parametrize("shape", [(4,), (1, 4, 4), (0, 4), (4, 0)])
    def test_a_mask_of_another_shape(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=r"expected a mask \(H, W\) with pixels"):
            split(torch.ones(shape))

    @pytest.mark.parametrize("area", [-0.1, 100.1, float("nan")])
    def test_an_area_that_is_no_share(self, area: float) -> None:
        with pytest.raises(InputError, match="expected a least area in percent, from 0 to 100"):
            split(torch.ones(4, 4), area)

    @pytest.mark.parametrize("most", [0, -1])
    def test_fewer_than_one_piece(self, most: int) -> None:
        with pytest.raises(InputError, match=f"expected at least 1 piece to keep, got {most}"):
            split(torch.ones(4, 4), most=most)

    def test_an_unknown_order(self) -> None:
        with pytest.raises(InputError, match="right to left"):
            split(torch.ones(4, 4), order="right to left")  # type: ignore[arg-type] # the point

    def test_more_pieces_than_memory_should_hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pieces, "_MOST_VALUES", 2 * 9)
        mask = drawn("#.#", "...", "#.#")
        with pytest.raises(InputError, match=r"at most 2 pieces of a mask of \(3, 3\), got 4"):
            split(mask, 0)
        assert len(split(mask, 0, 2)) == 2

    def test_the_orders_are_those_of_the_type(self) -> None:
        assert get_args(Order) == ORDERS


class TestAgainstAFlood:
    @given(
        st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
            lambda size: arrays(np.float32, size, elements=st.sampled_from(LEVELS))
        )
    )
    @settings(max_examples=300, deadline=None)
    def test_small_masks(self, values: NDArray[np.float32]) -> None:
        _compare(values)

    @pytest.mark.parametrize("share", [0.2, 0.35, 0.42, 0.5, 0.7])
    @pytest.mark.parametrize("size", [(60, 41), (33, 80)])
    def test_noise(self, size: Pixel, share: float) -> None:
        noise = np.random.default_rng(7).random(size, dtype=np.float32)
        _compare((noise < share).astype(np.float32))
        _compare(np.where(noise < share, 1, (noise < 0.9) * noise / 2).astype(np.float32))

    def test_combs_whose_teeth_meet_at_the_end(self) -> None:
        comb = np.zeros((40, 41), dtype=np.float32)
        comb[:, ::2] = comb[-1] = 1
        for turned in (comb, comb[::-1], comb.T, comb.T[::-1]):
            assert len(split(torch.from_numpy(turned.copy()), 0)) == 1
            _compare(turned)


@pytest.mark.slow
def test_noise_of_four_megapixels_takes_seconds_at_most() -> None:
    """A step that goes pixel by pixel would take a minute."""
    noise = torch.rand(2048, 2048, generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    split(noise, most=16)
    assert time.perf_counter() - started < 10


def _compare(values: NDArray[np.float32]) -> None:
    """Hold the pieces, and the one that each soft pixel is of, against those of a flood."""
    mask = torch.from_numpy(values.copy())
    found = split(mask, 0, order="largest first")
    expected = _flooded(values)
    parts = [frozenset(map(tuple, (each > 0.5).nonzero().tolist())) for each in found]
    assert len(parts) == len(expected)
    assert set(parts) == set(expected)
    assert [len(part) for part in parts] == sorted(map(len, expected), reverse=True)

    for axis, order in ((0, "top to bottom"), (1, "left to right")):
        ordered = split(mask, 0, order=order) > 0.5
        places = [each.nonzero()[:, axis].tolist() for each in ordered]
        centres = [sum(each) / len(each) for each in places]
        assert centres == sorted(centres)

    owned = found.numpy()
    assert set(np.unique(owned.astype(bool).sum(axis=0))) <= {0, 1}
    nearest = _nearest(values, parts)
    assert {(int(row), int(column)) for _, row, column in np.argwhere(owned)} == nearest.keys()
    for index, row, column in np.argwhere(owned):
        assert owned[index, row, column] == values[row, column]
        assert index in nearest[row, column]


def _flooded(values: NDArray[np.float32]) -> list[frozenset[Pixel]]:
    """The pieces above 0.5, each as its pixels."""
    waiting = {(int(row), int(column)) for row, column in np.argwhere(values > 0.5)}
    parts = []
    while waiting:
        part, front = set(), [waiting.pop()]
        while front:
            pixel = front.pop()
            part.add(pixel)
            around = _around(pixel) & waiting
            waiting -= around
            front += around
        parts.append(frozenset(part))
    return parts


def _nearest(values: NDArray[np.float32], parts: Sequence[frozenset[Pixel]]) -> Owners:
    """The pieces that are fewest steps away from each pixel above 0, at most H + W of them."""
    nearest: Owners = {pixel: {index} for index, part in enumerate(parts) for pixel in part}
    soft = {(int(row), int(column)) for row, column in np.argwhere(values > 0)} - nearest.keys()
    front = set(nearest)
    for _ in range(sum(values.shape)):
        front = {pixel for pixel in soft if _around(pixel) & front}
        owners = {
            pixel: set().union(*(nearest.get(each, set()) for each in _around(pixel)))
            for pixel in front
        }
        nearest |= owners
        soft -= front
    return nearest


def _around(pixel: Pixel) -> set[Pixel]:
    row, column = pixel
    return {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} - {pixel}
