"""A1111's own adapter, on stand-ins for the host's modules: which checkpoint it works with."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ldznet_core import CheckpointError

SHOWN, REFINER = "shown", "refiner"


STATES = ("interrupted", "skipped", "stopping_generation")
"""What the buttons "Interrupt" and "Skip" set (modules/shared_state.py)."""


class Models:
    """Stands in for modules/sd_models.py, as far as the loaded checkpoint goes."""

    def __init__(self) -> None:
        self.model_data = SimpleNamespace(sd_model=None)
        self.lock = threading.Lock()
        self.fault: Exception | None = None
        self.loads = 0

    def load(self, name: str) -> None:
        self.model_data.sd_model = SimpleNamespace(
            sd_checkpoint_info=SimpleNamespace(name_for_extra=name)
        )

    def reload_model_weights(self) -> None:
        assert self.lock.locked(), "another generation may be under way"
        if self.fault is not None:
            raise self.fault
        self.loads += 1
        self.load(SHOWN)


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def host(models: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The host's adapter, imported anew on the stand-ins."""
    names = {
        "call_queue": {"queue_lock": models.lock},
        "devices": {},
        "paths": {},
        "prompt_parser": {},
        "sd_hijack": {},
        "sd_hijack_clip": dict.fromkeys(
            (
                "FrozenCLIPEmbedderForSDXLWithCustomWords",
                "FrozenCLIPEmbedderWithCustomWords",
                "TextConditionalModel",
            ),
            object,
        ),
        "sd_models": {
            "model_data": models.model_data,
            "reload_model_weights": models.reload_model_weights,
        },
        "shared": {"state": SimpleNamespace(**dict.fromkeys(STATES, False))},
    }
    package = ModuleType("modules")
    monkeypatch.setitem(sys.modules, "modules", package)
    for name, content in names.items():
        module = ModuleType(f"modules.{name}")
        vars(module).update(content)
        setattr(package, name, module)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    ours = ("ldznet_webui.webui", "ldznet_webui.a1111")
    for name in ours:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("ldznet_webui.a1111").HOST
    for name in ours:
        sys.modules.pop(name, None)


def test_what_works_alone_finds_the_checkpoint_that_the_page_shows(
    host: Any, models: Models
) -> None:
    """And not the refiner that a generation has left."""
    models.load(REFINER)
    assert host.model_name() == REFINER
    assert host.exclusively(host.model_name) == SHOWN


def test_the_first_checkpoint_is_left_to_be_loaded_by_who_asks_for_it(
    host: Any, models: Models
) -> None:
    assert host.exclusively(host.model_name) == ""
    assert models.loads == 0


def test_a_checkpoint_that_cannot_be_loaded_is_a_sentence(host: Any, models: Models) -> None:
    models.load(REFINER)
    models.fault = FileNotFoundError("it was deleted\nlong ago")
    with pytest.raises(CheckpointError, match=r"choose another at the top \(it was deleted\)"):
        host.exclusively(host.model_name)
    assert not models.lock.locked()


@pytest.mark.parametrize(
    ("pressed", "is_cut_short"),
    [("interrupted", True), ("skipped", True), ("stopping_generation", False)],
)
def test_a_picture_that_may_be_finished_is_not_interrupted(
    host: Any, pressed: str, is_cut_short: bool
) -> None:
    """By default "Interrupt" ends a run of several after the picture that is under way."""
    assert not host.is_interrupted()
    setattr(sys.modules["modules.shared"].state, pressed, True)
    assert host.is_interrupted() == is_cut_short
