"""How tests are shared out: to as many processes as the machine bears, and never within a file."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("xdist", reason="tests are shared out by pytest-xdist, of the extra `dev`")

from .sharing import number_of_workers, share_of


@pytest.mark.parametrize(
    ("cores", "free_gigabytes", "workers"),
    [(2, 20, 2), (64, 200, 4), (8, 13, 3), (1, 64, 0), (None, 64, 0), (2, 7, 0), (2, 1, 0)],
)
def test_a_process_takes_a_core_and_four_gigabytes(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, free_gigabytes: int, workers: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    memory = SimpleNamespace(available=free_gigabytes << 30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    assert number_of_workers() == workers


@pytest.mark.parametrize(
    ("test", "share"),
    [
        ("tests/test_house.py::test_a", "tests/test_house.py"),
        ("tests/core/test_head.py::TestForward::test_a[1::2]", "tests/core/test_head.py"),
        ("tests/hosts/comfyui/test_heads.py::test_a", "tests/hosts/comfyui"),
        ("tests/hosts/webui/test_server.py::TestStart::test_a[x/y]", "tests/hosts/webui"),
    ],
)
def test_files_stay_whole_and_so_does_what_drives_one_host(test: str, share: str) -> None:
    assert share_of(test) == share
