"""Work split over processes; how they find each other is tried in `test_segment.py`."""

from __future__ import annotations

import pytest

from ldznet_core.cli.processes import Processes, joined


@pytest.mark.parametrize(("items", "count"), [(10, 3), (2, 4), (0, 2), (5, 1)])
def test_every_item_falls_to_one_process(items: int, count: int) -> None:
    shares = [Processes(index, count).share(range(items)) for index in range(count)]
    assert sorted(item for share in shares for item in share) == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("name", ["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_one_process_needs_no_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with joined() as processes:
        assert processes.is_main
        assert processes.gather("report") == ["report"]
