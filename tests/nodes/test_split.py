"""Masks from anywhere, split into their pieces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ldznet_core.masks import union
from ldznet_core.pieces import ORDERS, Order
from ldznet_core.pieces import split as split_one

from .calling import call

SIDE = 100


@pytest.fixture(scope="module")
def split(nodes: dict[str, Any]) -> Any:
    """LDZNetSplitMask's outputs; what is not given is as the node shows it at first."""
    node = nodes["LDZNetSplitMask"]
    shown = {each.id: each.default for each in node.GET_SCHEMA().inputs if each.id != "mask"}

    def outputs(mask: Tensor, **options: Any) -> SimpleNamespace:
        return call(node, mask=mask, **{**shown, **options})

    return outputs


def two_apples() -> Tensor:
    """A MASK: a large square at the right, a small one with a soft edge at the left, a crumb."""
    mask = torch.zeros(1, SIDE, SIDE)
    mask[0, 20:60, 50:90] = 1
    mask[0, 69:81, 9:21] = 0.3
    mask[0, 70:80, 10:20] = 0.9
    mask[0, 5, 5:8] = 1
    return mask


class TestPieces:
    def test_each_is_a_mask_of_its_own_and_crumbs_are_dropped(self, split: Any) -> None:
        found, given = split(two_apples()), two_apples()
        left, right = found.masks
        assert found.count == 2
        assert torch.equal(left[..., :25], given[..., :25] * (torch.arange(SIDE) > 30)[:, None])
        assert torch.equal(right[..., 25:], given[..., 25:])
        assert left[..., 25:].sum() == right[..., :25].sum() == 0

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize(("least_area", "most"), [(0.0, 0), (0.5, 0), (0.0, 1), (5.0, 2)])
    def test_are_the_library_s(
        self, split: Any, order: Order, least_area: float, most: int
    ) -> None:
        found = split(two_apples(), least_area=least_area, most=most, order=order)
        expected = split_one(two_apples()[0], least_area, most or None, order)
        assert torch.equal(torch.cat(found.masks), expected)
        assert found.count == len(expected)

    def test_together_they_are_the_mask_without_what_was_dropped(self, split: Any) -> None:
        found, given = split(two_apples()), two_apples()
        given[0, 5] = 0
        assert torch.equal(found.mask, given)
        assert torch.equal(split(two_apples(), least_area=0.0).mask, two_apples())

    def test_those_of_a_batch_follow_each_other_mask_by_mask(self, split: Any) -> None:
        batch = torch.cat([two_apples(), torch.zeros(1, SIDE, SIDE), two_apples().flip(2)])
        found, alone = split(batch), [split(each[None]) for each in batch]
        assert torch.equal(found.mask, torch.cat([each.mask for each in alone]))
        pieces = [*alone[0].masks, *alone[2].masks]
        assert torch.equal(torch.cat(found.masks), torch.cat(pieces))
        assert (found.count, len(found.masks)) == (4, 4)

    def test_the_most_count_for_each_mask(self, split: Any) -> None:
        found = split(two_apples().repeat(3, 1, 1), most=1)
        assert found.count == 3
        assert torch.equal(union(torch.cat(found.masks)), found.mask[0])

    def test_each_is_a_mask_as_the_host_passes_them(self, split: Any) -> None:
        for mask in (two_apples(), two_apples().double(), two_apples().half()):
            found = split(mask)
            for each in (found.mask, *found.masks):
                assert (each.shape, each.dtype) == ((1, SIDE, SIDE), torch.float32)

    def test_a_mask_without_its_batch_is_one_mask(self, split: Any) -> None:
        """Some nodes give (H, W)."""
        assert torch.equal(split(two_apples()[0]).mask, split(two_apples()).mask)

    def test_the_mask_given_is_not_written_to(self, split: Any) -> None:
        mask = two_apples()
        split(mask)
        assert torch.equal(mask, two_apples())


class TestNothing:
    @pytest.mark.parametrize("count", [1, 3])
    def test_is_one_empty_mask_so_that_what_follows_runs(self, split: Any, count: int) -> None:
        found = split(torch.zeros(count, 30, 20))
        assert found.count == 0
        assert torch.equal(found.mask, torch.zeros(count, 30, 20))
        assert [each.tolist() for each in found.masks] == [torch.zeros(1, 30, 20).tolist()]

    def test_is_also_what_is_left_where_all_are_crumbs(self, split: Any) -> None:
        found = split(two_apples(), least_area=50.0)
        assert (found.count, len(found.masks)) == (0, 1)
        assert found.mask.sum() == found.masks[0].sum() == 0


class TestManners:
    def test_each_mask_moves_the_bar_and_may_be_the_last(self, split: Any) -> None:
        from comfy import model_management, utils

        seen: list[tuple[int, int]] = []

        def step(value: int, total: int) -> None:
            seen.append((value, total))
            model_management.interrupt_current_processing()

        utils.set_progress_bar_global_hook(step)
        try:
            with pytest.raises(model_management.InterruptProcessingException):
                split(two_apples().repeat(3, 1, 1))
        finally:
            utils.set_progress_bar_global_hook(None)
            model_management.interrupt_current_processing(False)
        assert seen == [(1, 3)]

    @pytest.mark.parametrize("shape", [(0, SIDE, SIDE), (1, 0, SIDE), (SIDE,)])
    def test_a_mask_without_pixels_is_told(
        self, split: Any, input_error: type[Exception], shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(input_error, match="expected a MASK"):
            split(torch.zeros(shape))


class TestWidgets:
    def test_their_limits_are_those_of_the_library(self, nodes: dict[str, Any]) -> None:
        widgets = {each.id: each for each in nodes["LDZNetSplitMask"].GET_SCHEMA().inputs}
        area, most = widgets["least_area"], widgets["most"]
        assert (area.min, area.default, area.max) == (0.0, 0.1, 100.0)
        assert (most.min, most.default) == (0, 0)
        assert widgets["order"].options == [*ORDERS]
        assert widgets["order"].default == "left to right"
