"""The head "auto": it becomes another one as soon as a model's family is known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ldznet_core import HeadConfig, LDZNetHead, save_head

from ..core.tiny import HEAD_SIZES
from .calling import call
from .loading import Pack
from .studio import guider, run


@pytest.fixture(scope="module")
def auto(nodes: dict[str, Any]) -> Any:
    """What the node loads unless told otherwise."""
    head_name = nodes["LDZNetLoadHead"].GET_SCHEMA().inputs[0].default
    return call(nodes["LDZNetLoadHead"], head_name=head_name).head


def test_the_miniature_gets_its_best_head(auto: Any) -> None:
    assert auto.for_family("miniature").config.kind == "compact"


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_other_families_are_masked_without_a_trained_one(auto: Any, family: str) -> None:
    assert type(auto.for_family(family)).__name__ == "TrainingFree"


def test_it_is_loaded_once(auto: Any) -> None:
    assert auto.for_family("miniature") is auto.for_family("miniature")
    assert auto.get_ram_usage() == auto.for_family("miniature").get_ram_usage()


def test_a_head_of_the_user_s_own_comes_before_none(pack: Pack, ldznet: Path) -> None:
    (ldznet / "broken.safetensors").write_bytes(b"nothing")
    trained = LDZNetHead(HeadConfig(family="sd1", unet=HEAD_SIZES, image_side=64))
    save_head(trained, ldznet / "mine")
    chosen = pack.module("nodes.auto_head").AutoHead().for_family("sd1")
    assert asdict(chosen.config) == asdict(trained.config)


def test_a_file_that_came_is_seen(pack: Pack, ldznet: Path) -> None:
    fingerprint = pack.nodes()["LDZNetLoadHead"].fingerprint_inputs
    before = fingerprint("auto")
    assert fingerprint("auto") == before
    (ldznet / "mine.safetensors").write_bytes(b"new")
    assert fingerprint("auto") != before


def test_its_masks_are_those_of_the_head_that_it_became(
    segment_image: Any, auto: Any, image: torch.Tensor, nodes: dict[str, Any]
) -> None:
    named = call(nodes["LDZNetLoadHead"], head_name="miniature-compact").head
    found, expected = (segment_image(image, "red car\nowl", head=head) for head in (auto, named))
    for one, other in zip(found.probabilities, expected.probabilities, strict=True):
        torch.testing.assert_close(one, other)


def test_what_it_reads_is_heard_while_sampling(
    segment: Any, nodes: dict[str, Any], loaded: SimpleNamespace, auto: Any
) -> None:
    model = call(nodes["LDZNetCapture"], model=loaded.model, head=auto).model
    texts = [loaded.clip.encode_from_tokens(loaded.clip.tokenize(text)) for text in ("a car", "")]
    made = guider(model, *([[text, {}]] for text in texts))
    samples = {"samples": run(made, (800, 410, 100), size=(16, 16), seed=0)}
    answer = segment(samples, "a car", head=auto, source="sampling")
    assert tuple(answer.masks[0].shape) == (1, 128, 128)
