"""Which WebUI is taken to be running, by the folders that its checkout has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from ldznet_webui import host


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    host.find_host.cache_clear()
    yield
    host.find_host.cache_clear()


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        (["modules"], "ldznet_webui.a1111"),
        (["modules", "modules_forge", "backend"], "ldznet_webui.forge"),
        (["modules", "modules_forge", "ldm_patched"], "ldznet_webui.reforge"),
    ],
)
def test_found_by_its_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folders: Sequence[str], name: str
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def imported(module: str, package: str) -> SimpleNamespace:
        return SimpleNamespace(HOST=f"{package}{module}")

    monkeypatch.setattr(host, "import_module", imported)
    assert host.find_host() == name
