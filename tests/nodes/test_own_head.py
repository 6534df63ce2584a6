"""Heads of users' own: they may read other blocks than the paper's, if Capture is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ldznet_core.checkpoint import save_head
from ldznet_core.head import CompactHead, HeadConfig
from ldznet_core.miniature import load_miniature

from .calling import call
from .loading import Pack
from .studio import guider, run

SCHEDULE = (800, 410, 100)


@pytest.fixture
def head(pack: Pack, tmp_path: Path) -> Any:
    """A compact one for the miniature, with random weights, which reads blocks 6 and 15."""
    torch.manual_seed(0)
    unet = load_miniature().unet.config
    config = HeadConfig(
        family="miniature", unet=unet, kind="compact", widths=(32, 32, 32), taps=(6, 15)
    )
    files = save_head(CompactHead(config), tmp_path / "mine")
    return pack.module("nodes.managed_head").ManagedHead(files[0])


def sampled(model: Any, clip: Any) -> dict[str, Any]:
    texts = [clip.encode_from_tokens(clip.tokenize(text)) for text in ("a red car", "")]
    made = guider(model, *([[text, {}]] for text in texts))
    return {"samples": run(made, SCHEDULE, size=(16, 16))}


def test_a_connected_head_finds_its_blocks(
    nodes: dict[str, Any], loaded: SimpleNamespace, head: Any
) -> None:
    heard = call(nodes["LDZNetCapture"], model=loaded.model, head=head).model
    answer = call(
        nodes["LDZNetSegment"],
        head=head,
        model=loaded.model,
        clip=loaded.clip,
        samples=sampled(heard, loaded.clip),
        phrases="a car\nthe sky",
        threshold=0.5,
        source="sampling",
    )
    assert [tuple(mask.shape) for mask in answer.masks] == [(1, 128, 128)] * 2
    assert "captured while sampling" in answer.report


def test_what_was_not_listened_for_is_named(
    nodes: dict[str, Any], loaded: SimpleNamespace, head: Any, input_error: type[Exception]
) -> None:
    heard = call(nodes["LDZNetCapture"], model=loaded.model).model
    with pytest.raises(input_error, match="block 15"):
        call(
            nodes["LDZNetSegment"],
            head=head,
            model=loaded.model,
            clip=loaded.clip,
            samples=sampled(heard, loaded.clip),
            phrases="a car",
            threshold=0.5,
            source="sampling",
        )
