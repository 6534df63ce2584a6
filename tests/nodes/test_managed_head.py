"""Heads under ComfyUI's memory management, in half precision where the host prefers it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ldznet_core import load_head, load_miniature
from ldznet_core.checkpoint import save_head

from .loading import Pack

TOO_MUCH = 5e4
"""By how much a layer's outputs grow: beyond float16, which ends at 65504, and not float32."""

Inputs = tuple[Tensor, Tensor, dict[int, Tensor]]


@pytest.fixture
def in_half(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that prefers half precision."""
    from comfy import model_management

    monkeypatch.setattr(model_management, "should_use_fp16", lambda device: True)


@pytest.fixture
def made(pack: Pack, tmp_path: Path) -> Callable[..., Any]:
    """Makes the built-in head of the paper's design, its first layer's outputs grown."""

    def managed(growth: float = 1.0) -> Any:
        head = load_head("miniature")
        with torch.no_grad():
            for parameter in head.input_blocks[0][0].parameters():
                parameter.mul_(growth)
        files = save_head(head, tmp_path / "head")
        return pack.module("nodes.managed_head").ManagedHead(files[0])

    return managed


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    miniature = load_miniature()
    found = miniature.probe(latents, ["a car", "the sky"])
    return latents, miniature.encode_text(["a car", "the sky"]), dict(found.blocks)


def dtype_of(head: Any) -> torch.dtype:
    weights: Tensor = next(head._patcher.model.parameters())
    return weights.dtype


@torch.inference_mode()
def logits_of(head: Any, inputs: Inputs) -> Tensor:
    logits: Tensor = head(*inputs)
    return logits


def test_one_that_fits_stays_in_half_precision(in_half: None, made: Any, inputs: Inputs) -> None:
    head = made()
    assert logits_of(head, inputs).isfinite().all()
    assert dtype_of(head) == torch.float16


def test_one_that_overflows_goes_over_to_float32_and_says_so_once(
    in_half: None, made: Any, inputs: Inputs, caplog: pytest.LogCaptureFixture
) -> None:
    from comfy import model_management

    head = made(TOO_MUCH)
    with torch.inference_mode():
        as_loaded = head._patcher.model
        assert all(weight.isfinite().all() for weight in as_loaded.parameters())
        assert not as_loaded(*inputs).isfinite().all()  # else this shows nothing
    model_management.loads.clear()
    with caplog.at_level(logging.WARNING):
        first, second = (logits_of(head, inputs) for _ in range(2))
    assert first.isfinite().all()
    assert torch.equal(first, second)
    assert dtype_of(head) == torch.float32
    assert ["float32" in record.message for record in caplog.records] == [True]
    half, whole, again = (load.memory_required for load in model_management.loads)
    assert whole == again == 2 * half
    assert model_management.loads[2].models == (head._patcher.model,)


def test_it_then_gives_what_it_gives_in_float32_from_the_start(
    made: Any, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy import model_management

    expected = logits_of(made(TOO_MUCH), inputs)
    monkeypatch.setattr(model_management, "should_use_fp16", lambda device: True)
    assert torch.equal(logits_of(made(TOO_MUCH), inputs), expected)


def test_what_float32_does_not_help_leaves_it_in_half_precision(
    in_half: None, made: Any, inputs: Inputs, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the model gave NaN, it is not the head's."""
    latents, context, _ = inputs
    broken = {block: torch.full_like(each, torch.nan) for block, each in inputs[2].items()}
    head = made()
    assert not logits_of(head, (latents, context, broken)).isfinite().all()
    assert dtype_of(head) == torch.float16
    assert caplog.records == []
