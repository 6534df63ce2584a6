"""Which row of a pass is whose; the golden cases were seen in running hosts."""

from __future__ import annotations

import pytest

from ldznet_webui.passes import Pass, rows_by_kind, rows_in_order


def made(count: int, first: int = 0, kinds: list[int] | None = None) -> Pass:
    return Pass(first, count, 400.0, {} if kinds is None else {"cond_or_uncond": kinds})


class TestPromptsFirst:
    """A1111: all prompts, and then all negative prompts."""

    @pytest.mark.parametrize(
        ("passed", "prompts", "rows"),
        [
            (made(2), [1], [0]),
            (made(4), [1, 1], [0, 1]),
            (made(6), [2, 2], [0, 2]),  # AND, of two pictures
            (made(3), [2], [0]),
            (made(1), [1], [0]),  # its prompt is longer than the negative one
            (made(1, first=1), [1], [None]),  # and so the negative one comes alone
            (made(2, first=2), [1, 1], [None, None]),  # conditionings are not batched
            (made(2, first=2), [2, 2], [None, 0]),  # nor are AND's
            (made(4), [3, 1], [0, 3]),
        ],
    )
    def test_rows(self, passed: Pass, prompts: list[int], rows: list[int | None]) -> None:
        assert rows_in_order(passed, prompts) == rows


class TestRowsByKind:
    """Forge and reForge say which rows are the prompts'."""

    @pytest.mark.parametrize(
        ("passed", "pictures", "rows"),
        [
            (made(2, kinds=[1, 0]), 1, [1]),
            (made(4, kinds=[1, 0]), 2, [2, 3]),
            (made(1, kinds=[0]), 1, [0]),  # at a guidance of 1 there is no negative prompt
            (made(1, kinds=[1]), 1, [None]),
            (made(3, kinds=[1, 0, 0]), 1, [2]),  # AND, its first prompt last
            (made(4, kinds=[1, 0]), 3, [None, None, None]),  # tiles, or somebody else's pass
            (made(2), 2, [None, None]),  # nothing is said
        ],
    )
    def test_rows(self, passed: Pass, pictures: int, rows: list[int | None]) -> None:
        assert list(rows_by_kind(passed, pictures)) == rows
