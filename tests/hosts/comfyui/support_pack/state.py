"""What this process holds, told over HTTP: hooks, memory, the size of the features' bank."""

from __future__ import annotations

import gc
import sys
from typing import Any

import psutil
import torch
from aiohttp import web
from server import PromptServer


def add_routes() -> None:
    """Let the tests ask for the state, and set the bank's bound."""

    @PromptServer.instance.routes.get("/ldztest/state")
    async def state(request: web.Request) -> web.Response:
        return web.json_response(
            {"hooks": hooks(), "resident_bytes": resident_bytes(), "bank": bank_size()}
        )

    @PromptServer.instance.routes.get("/ldztest/limit")
    async def limit(request: web.Request) -> web.Response:
        """Give the bank another bound."""
        find_bank().limit_bytes = int(request.query["bytes"])
        return web.json_response(bank_size())


def hooks() -> list[str]:
    """Name every forward hook on any module that is alive in this process."""
    found = []
    is_module: dict[type, bool] = {}  # there are a million objects of a few thousand types
    for thing in gc.get_objects():
        kind = type(thing)
        if kind not in is_module:
            is_module[kind] = issubclass(kind, torch.nn.Module)
        if is_module[kind]:
            for name in ("_forward_hooks", "_forward_pre_hooks"):
                found += [f"{kind.__name__}: {hook}" for hook in _values(thing, name)]
    for name in ("_global_forward_hooks", "_global_forward_pre_hooks"):
        found += [f"all modules: {hook}" for hook in _values(torch.nn.modules.module, name)]
    return found


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    resident: int = psutil.Process().memory_info().rss
    return resident


def bank_size() -> dict[str, int] | None:
    """Return the size and the bound of the bank of features; None where there is no bank."""
    bank = find_bank()
    if bank is None:
        return None
    return {"used": bank.used_bytes, "limit": bank.limit_bytes, "entries": len(bank)}


def find_bank() -> Any:
    """Return the bank of the pack under test, whatever name the host has given its module."""
    modules = [module for name, module in sys.modules.items() if name.endswith(".nodes.bank")]
    return getattr(modules[0], "BANK", None) if modules else None


def _values(thing: object, name: str) -> list[object]:
    return list((getattr(thing, "__dict__", {}).get(name) or {}).values())
