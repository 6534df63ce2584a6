"""Which row of a UNet pass is which picture's prompt.

A1111 puts all prompts before all negative prompts, Forge and reForge the other way round. Either
may spread a step over several passes, leave the negative prompts out, or join prompts by AND.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

Rows: TypeAlias = Sequence["int | None"]
"""The row of each picture's prompt in a pass; None where it lies in another."""

RowsOf: TypeAlias = "Callable[[Pass], Rows]"
"""Tells where each picture's prompt is in a pass."""

_PROMPT = 0  # what Forge and reForge call a prompt in `cond_or_uncond`


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a UNet that is about to be made."""

    first: int
    """How many rows the passes of the same denoiser step have had before."""
    count: int
    """Rows of this one."""
    timestep: float
    """The model's own, 0 to 999."""
    options: Mapping[str, Any]
    """What Forge and reForge call `transformer_options`."""


def rows_in_order(passed: Pass, prompts: Sequence[int]) -> Rows:
    """Rows of a host that puts the prompts first, each picture's one after the other.

    Args:
        passed: The pass.
        prompts: How many prompts, joined by AND, each picture has; the first speaks for it.
    """
    starts = [0, *accumulate(prompts)][:-1]
    places = [start - passed.first for start in starts]
    return [place if 0 <= place < passed.count else None for place in places]


def rows_by_kind(passed: Pass, pictures: int) -> Rows:
    """Rows of a host that says of each group of rows whether it is the prompts or not.

    A group has a row for each picture. Of prompts joined by AND the first speaks: it comes last, as
    these hosts reverse the groups of a pass (Forge: backend/sampling/sampling_function.py:182).
    """
    kinds = list(passed.options.get("cond_or_uncond", ()))
    if _PROMPT not in kinds or passed.count != pictures * len(kinds):
        return [None] * pictures
    start = pictures * (len(kinds) - 1 - kinds[::-1].index(_PROMPT))
    return range(start, start + pictures)
