"""Grids of positions: whose halvings they are, and how maps go from one to another."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ldznet_core.errors import InputError
from ldznet_core.frames import padded_side
from ldznet_core.training_free.grids import enlarged, frame_of, grid_of, on_grid, pooled

from . import literal
from .small import noise


def halved(size: tuple[int, int], times: int) -> tuple[int, int]:
    for _ in range(times):
        size = (-(-size[0] // 2), -(-size[1] // 2))
    return size


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 5))
def test_every_halving_is_found_again(rows: int, columns: int, halvings: int) -> None:
    grid = (rows, columns)
    for _ in range(halvings):
        assume(grid != (1, 1))
        grid = (-(-grid[0] // 2), -(-grid[1] // 2))
    assert grid_of(grid[0] * grid[1], (rows, columns)) == grid


@pytest.mark.parametrize(
    ("positions", "size"), [(241, (60, 64)), (0, (8, 8)), (2000, (16, 16)), (17, (16, 16))]
)
def test_other_numbers_of_positions_are_refused_in_a_sentence(
    positions: int, size: tuple[int, int]
) -> None:
    with pytest.raises(
        InputError, match=rf"latents of {size[0]}x{size[1]}, halved .*got {positions} pos.*: "
    ):
        grid_of(positions, size)


def test_rows_come_before_columns() -> None:
    assert on_grid(torch.arange(6)[None], (2, 3)).tolist() == [[[0, 1, 2], [3, 4, 5]]]


@pytest.mark.parametrize("size", [(6, 8), (5, 11)])
def test_enlarging_is_bicubic_with_pixels_corners_in_common(size: tuple[int, int]) -> None:
    maps = noise(2, 3, 4)
    expected = torch.stack([literal.bicubic(each, size) for each in maps])
    literal.assert_near(enlarged(maps, size), expected)


def test_maps_of_the_size_asked_for_stay_the_very_maps() -> None:
    maps = noise(2, 3, 4)
    assert enlarged(maps, (3, 4)) is maps


class TestFrames:
    @given(st.integers(8, 300), st.integers(8, 300), st.booleans())
    def test_blocks_tell_whether_a_pass_was_padded(
        self, rows: int, columns: int, is_padded: bool
    ) -> None:
        size = (rows, columns)
        padded = (padded_side(rows, 8), padded_side(columns, 8))
        seen = padded if is_padded else size
        grids = [halved(seen, times) for times in (1, 2, 3)]
        frame = frame_of([grid[0] * grid[1] for grid in grids], size)
        for times, grid in enumerate(grids, start=1):
            assert halved(frame, times) == grid


class TestPooling:
    @pytest.mark.parametrize("size", [(4, 6), (5, 7), (8, 5), (13, 24)])
    @pytest.mark.parametrize("times", [1, 2, 3])
    def test_a_coarser_grid_takes_means(self, size: tuple[int, int], times: int) -> None:
        maps, grid = noise(2, *size), halved(size, times)
        expected = torch.stack([literal.averaged(each, grid).flatten() for each in maps])
        literal.assert_near(pooled(maps, grid), expected)

    @pytest.mark.parametrize("size", [(8, 12), (7, 11), (15, 24), (13, 21)])
    def test_a_finer_grid_is_bicubic_and_cut_where_the_coarser_looks_beyond(
        self, size: tuple[int, int]
    ) -> None:
        times = 1 if size[0] < 10 else 2
        maps = noise(2, *halved(size, times))
        whole = (2**times * maps.shape[-2], 2**times * maps.shape[-1])
        cut = [literal.bicubic(each, whole)[: size[0], : size[1]].flatten() for each in maps]
        literal.assert_near(pooled(maps, size), torch.stack(cut))

    def test_the_same_grid_changes_nothing(self) -> None:
        maps = noise(2, 4, 6)
        assert torch.equal(pooled(maps, (4, 6)), maps.flatten(1))
