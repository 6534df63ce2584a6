"""What this process holds, told over HTTP: hooks, memory, routes, callbacks."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import psutil
import torch
from fastapi import FastAPI
from modules import script_callbacks, sd_models, shared

from . import listening


def add_routes(demo: object, app: FastAPI) -> None:
    """Let the tests ask for the state, and press "Reload UI"."""

    def state(is_thorough: bool = False) -> dict[str, Any]:
        return {
            "hooks": hooks(_all_modules() if is_thorough else _loaded_modules()),
            "resident_bytes": psutil.Process().memory_info().rss,
            "routes": [getattr(route, "path", "") for route in app.routes],
            "callbacks": callbacks(),
            "randomness": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        }

    def reload() -> dict[str, Any]:
        shared.state.request_restart()
        return {}

    app.add_api_route("/ldztest/state", state, methods=["GET"])
    app.add_api_route("/ldztest/reload", reload, methods=["POST"])
    app.add_api_route("/ldztest/expected", listening.expected, methods=["POST"])


def hooks(modules: Iterable[torch.nn.Module]) -> list[str]:
    """Name every forward hook on some modules, and those on all modules."""
    found = [
        f"{type(module).__name__}: {_name_of(hook)}"
        for module in modules
        for name in ("_forward_hooks", "_forward_pre_hooks")
        for hook in _values(module, name)
    ]
    for name in ("_global_forward_hooks", "_global_forward_pre_hooks"):
        found += [
            f"all modules: {_name_of(hook)}" for hook in _values(torch.nn.modules.module, name)
        ]
    return sorted(found)


def callbacks() -> dict[str, int]:
    """Count the host's callbacks of the extension under test, by what they wait for."""
    counts = {}
    for category, registered in script_callbacks.callback_map.items():
        ours = [callback for callback in registered if "LD-ZNet" in str(callback.script)]
        counts[category.removeprefix("callbacks_")] = len(ours)
    return {category: count for category, count in counts.items() if count}


def _loaded_modules() -> Iterator[torch.nn.Module]:
    """The modules of the checkpoints that the host holds."""
    data = sd_models.model_data
    for model in {*getattr(data, "loaded_sd_models", ()), data.sd_model} - {None}:
        objects = getattr(model, "forge_objects", None)
        roots = [objects.unet.model, objects.clip.cond_stage_model] if objects else [model]
        for root in roots:
            if isinstance(root, torch.nn.Module):
                yield from root.modules()


def _all_modules() -> Iterator[torch.nn.Module]:
    """Every module that is alive; it takes a second to find them."""
    gc.collect()
    is_module: dict[type, bool] = {}  # there are a million objects of a few thousand types
    for thing in gc.get_objects():
        kind = type(thing)
        if kind not in is_module:
            is_module[kind] = issubclass(kind, torch.nn.Module)
        if is_module[kind]:
            yield thing


def _name_of(hook: object) -> str:
    function = getattr(hook, "func", hook)  # of a partial
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', hook)}"


def _values(thing: object, name: str) -> list[object]:
    return list((getattr(thing, "__dict__", {}).get(name) or {}).values())
