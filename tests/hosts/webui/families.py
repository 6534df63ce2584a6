"""Models of SD 2.x and SDXL for tests, and what the extension reads of them in a host."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from torch import Tensor

from .client import Client, encoded
from .hosts import NO_HOST, NoPythonError, find_host, find_python
from .test_backbones import drawn

PHRASES = ["owl", "a red car in a meadow"]
SIGNS = ["(owl:1.3)", "[owl|car]", "a AND b", "<lora:a:1>"]
WIDTHS = {"sd2": 1024, "sdxl": 2048}


@dataclass(frozen=True, slots=True)
class Read:
    """What the extension reads of a picture and phrases, and what the host gives by itself."""

    family: str
    counts: list[int]
    ours: dict[str, Tensor]
    theirs: dict[str, Tensor]
    latents: Tensor
    before: dict[str, Any]
    after: dict[str, Any]


def read(client: Client, phrases: list[str], t: float = 100) -> Read:
    body = {"picture": encoded(drawn(128, 64)), "phrases": phrases, "t": t}
    answer = client.call("/ldztest/attention", body)
    for name in ("ours", "theirs", "latents"):
        answer[name] = safetensors.torch.load(base64.b64decode(answer[name]))
    return Read(**{**answer, "latents": answer["latents"]["latents"]})


def written(family: str, size: str, folder: Path) -> Path:
    """A checkpoint of random weights, made by the networks that A1111 brings."""
    host = find_host("webui")
    if host is None:
        pytest.skip(NO_HOST["webui"])
    try:
        python = find_python(host)
    except NoPythonError as error:
        pytest.skip(str(error))
    checkpoint = folder / f"{size}-{family}.safetensors"
    script = Path(__file__).parent / "inside" / "other_families.py"
    subprocess.run([python, script, host.folder, family, size, checkpoint], check=True)
    return checkpoint
