"""Whose rows a pass of a sampler holds: conditionings by role, told by the names ComfyUI gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

Cond: TypeAlias = Mapping[str, Any]
"""A conditioning under way: its text, its options, its ``uuid``."""

Roles: TypeAlias = Mapping[str, Sequence[Cond] | None]
"""A guider's conditionings, such as the ``positive`` ones; a role may be left empty."""

_PARTS = {"area", "mask", "default"}
"""What marks a conditioning for a part of the picture (comfy/samplers.py, get_area_and_mult)."""


def conds_of(roles: Roles, role: str) -> dict[UUID, Cond]:
    """The conditionings of one role whose names no other role has.

    ComfyUI gives an area's conditioning and the opposite that it makes up for it one name; such are
    left out, as nothing tells them apart (comfy/samplers.py, create_cond_with_same_area).
    """
    others = {uuid for name in roles if name != role for uuid in uuids_of(roles, name)}
    return {uuid: cond for uuid, cond in uuids_of(roles, role).items() if uuid not in others}


def whole_conds_of(roles: Roles, role: str) -> dict[UUID, Cond]:
    """Those of them that are for the whole picture."""
    return {uuid: cond for uuid, cond in conds_of(roles, role).items() if _PARTS.isdisjoint(cond)}


def uuids_of(roles: Roles, role: str) -> dict[UUID, Cond]:
    """All conditionings of one role that have a name."""
    named = [cond for cond in roles.get(role) or () if cond.get("uuid") is not None]
    return {cond["uuid"]: cond for cond in named}


def rows_of(uuids: Sequence[UUID], pictures: int) -> dict[UUID, slice]:
    """Where the conditionings of a pass lie in it, a row for each picture of the batch."""
    return {
        uuid: slice(place * pictures, (place + 1) * pictures) for place, uuid in enumerate(uuids)
    }
