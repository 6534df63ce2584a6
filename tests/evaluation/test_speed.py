"""The benchmark at the size of SD 1.x, on a UNet of its layout with few channels."""

from __future__ import annotations

import pytest
import torch

from ldznet_core.cli.bench import describe
from ldznet_core.evaluation.speed import Bench, compare
from ldznet_core.training_free import LAYERS
from ldznet_core.unet import UNetConfig

SMALL = UNetConfig(model_channels=32, context_dim=16)
SIDE = 64


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(SIDE, sizes=SMALL)


def test_both_ways_of_a_comparison_run_once_to_warm_up_and_once_for_each_pair() -> None:
    runs: list[str] = []
    found = compare("a : b", lambda: runs.append("a"), lambda: runs.append("b"), pairs=2)
    assert runs == ["a", "b", "b", "a", "a", "b"]
    assert found.name == "a : b"


def test_every_comparison_of_attention_runs_and_leaves_no_hook(bench: Bench) -> None:
    for name, ways in bench.attention_comparisons().items():
        assert compare(name, *ways, pairs=1).seconds >= 0
    assert not any(module._forward_hooks for module in bench.unet.modules())


@torch.inference_mode()
def test_phrases_are_read_at_the_size_of_the_picture(bench: Bench) -> None:
    logits = bench.reading(2)
    assert logits.shape == (2, 1, SIDE, SIDE)
    assert logits.isfinite().all()


def test_what_is_kept_is_counted_in_half_precision(bench: Bench) -> None:
    layers, channels = LAYERS["sd1"], SMALL.model_channels
    words = len(layers.words) * (SIDE // 32) ** 2 * 4 * channels
    links = 2 * len(layers.links) * (SIDE // 16) ** 2 * 2 * channels
    assert bench.kept_bytes() == 2 * (words + links)


def test_the_report_names_every_ratio_and_what_is_kept() -> None:
    ratio = {"name": "a probe : a pass", "seconds": 1.5, "reference_seconds": 3.0, "ratio": 0.5}
    report = {"comparisons": [ratio], "side": 512, "dtype": "float32", "peak_gib": 4.0}
    told = describe({**report, "kept_mb": 11.1})
    assert "a probe : a pass" in told
    assert "0.500" in told
    assert "11.1 MB in float16" in told
    assert "kept" not in describe({**report, "kept_mb": None})
