"""MODELs that are not plain, in the real host's own classes: what a probe tells them, and reads."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .hosts import PROJECT, find_python
from .rig import Server, host_environment


@pytest.mark.slow
def test_a_lora_an_inpainting_model_and_a_flow(server: Server) -> None:
    python = find_python(server.host)
    script = Path(__file__).parent / "inside" / "odd_models.py"
    done = subprocess.run(
        [str(python.path), str(script), str(server.host.folder), str(PROJECT)],
        env=host_environment(python),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lora_changes"] > 1
    assert found["lora_differs"] < 0.01  # by the rounding of half precision
    assert found["masked"] == 0
    assert found["differs_from_picture"] < 1e-5
    assert found["told"] == [100, 400]
