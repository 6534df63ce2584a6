"""MODELs that are not plain, in the real host's own classes: what a probe tells them, and reads."""

from __future__ import annotations

import pytest

from .rig import Server, found_inside


@pytest.mark.slow
def test_a_lora_an_inpainting_model_and_a_flow(server: Server) -> None:
    found = found_inside(server.host, "odd_models.py")
    assert found["lora_changes"] > 1
    assert found["lora_differs"] < 0.01  # by the rounding of half precision
    assert found["masked"] == 0
    assert found["differs_from_picture"] < 1e-5
    assert found["told"] == [100, 400]
