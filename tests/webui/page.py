"""The modules that make the page, on stand-ins for Gradio and the host."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

STAND_IN = Path(__file__).parent / "stand_in"

_ON_STAND_INS = ("gradio_words", "panel", "send", "actions", "tab")
"""Modules of the extension that import Gradio or the host."""


@contextmanager
def page_modules(host: Any, gradio: str = "3.41.2") -> Iterator[dict[str, ModuleType]]:
    """The extension's modules by name, and ``gradio`` and ``shared``, imported anew.

    Args:
        host: What they find as the host around them.
        gradio: The version that Gradio says it is.
    """
    ours = [f"ldznet_webui.{name}" for name in _ON_STAND_INS]
    with pytest.MonkeyPatch.context() as patch:
        for name in [*ours, *(each for each in sys.modules if _is_stood_in_for(each))]:
            patch.delitem(sys.modules, name, raising=False)
        patch.syspath_prepend(str(STAND_IN))
        gr = importlib.import_module("gradio")
        patch.setattr(gr, "__version__", gradio)
        modules = {name: importlib.import_module(f"ldznet_webui.{name}") for name in _ON_STAND_INS}
        for name in ("panel", "actions"):
            patch.setattr(modules[name], "find_host", lambda: host)
        yield {**modules, "gradio": gr, "shared": importlib.import_module("modules.shared")}
        for name in [*ours, *(each for each in sys.modules if _is_stood_in_for(each))]:
            sys.modules.pop(name, None)


def by_id(gradio: Any) -> dict[str, Any]:
    """The components that were made, by their ids; no two may share one."""
    named = [each for each in gradio.MADE if each.elem_id]
    found = {each.elem_id: each for each in named}
    assert len(found) == len(named)
    return found


def _is_stood_in_for(name: str) -> bool:
    return name.partition(".")[0] in ("gradio", "modules")
