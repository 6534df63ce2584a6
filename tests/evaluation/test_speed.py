"""The benchmark at the size of SD 1.x, on a UNet of its layout with few channels."""

from __future__ import annotations

import pytest
import torch

from ldznet_core.cli import main
from ldznet_core.cli.bench import describe
from ldznet_core.evaluation.ratios import compare
from ldznet_core.evaluation.speed import Bench
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


def test_every_comparison_of_networks_runs_in_half_precision() -> None:
    bench = Bench(SIDE, torch.float16, sizes=SMALL)
    for name, ways in bench.comparisons().items():
        if "compiled" in name:  # needs a compiler
            continue
        bench.forget()
        assert compare(name, *ways, pairs=1).peak_gib is None  # a CPU does not tell


@torch.inference_mode()
def test_what_is_compared_is_made_in_its_dtype_where_the_networks_are() -> None:
    bench = Bench(SIDE, torch.float16, torch.device("meta"), sizes=SMALL)
    for made in (bench.latents, bench.context(), bench.unet_pass(), bench.head_pass()):
        assert (made.dtype, made.device.type) == (torch.float16, "meta")


def test_nothing_but_the_unet_is_kept_between_comparisons(bench: Bench) -> None:
    before = bench.head
    bench.forget()
    assert bench.head is not before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_is_timed_by_its_own_clock_and_tells_its_memory() -> None:
    device = torch.device("cuda")
    large, small = (torch.ones(side, side, device=device) for side in (4096, 16))
    found = compare("large : small", lambda: large @ large, lambda: small @ small, 3, device)
    assert found.ratio > 1
    assert found.peak_gib is not None
    assert found.reference_peak_gib is not None
    assert found.peak_gib - found.reference_peak_gib >= 4 * (4096**2 - 16**2) / 2**30


@pytest.mark.parametrize("device", ["nowhere", "meta"])
def test_a_device_that_cannot_be_timed_is_refused(
    device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--what", "networks", "--device", device]) == 2
    assert "expected" in capsys.readouterr().err


def test_the_report_names_every_ratio_and_what_is_kept() -> None:
    ratio = {"name": "a probe : a pass", "seconds": 1.5, "reference_seconds": 3.0, "ratio": 0.5}
    report = {"comparisons": [ratio], "side": 512, "dtype": "float32", "peak_gib": 4.0}
    report["device"] = "cpu"
    told = describe({**report, "kept_mb": 11.1})
    assert "a probe : a pass" in told
    assert "0.500" in told
    assert "11.1 MB in float16" in told
    assert "kept" not in describe({**report, "kept_mb": None})


def test_the_report_of_a_device_has_the_memory_of_each_comparison() -> None:
    ratio = {"name": "a : b", "seconds": 1.5, "reference_seconds": 3.0, "ratio": 0.5}
    peaks = {"peak_gib": 7.25, "reference_peak_gib": 3.5}
    report = {"comparisons": [ratio | peaks], "device": "cuda", "peak_gib": 4.0, "kept_mb": None}
    heads, line, whole = describe(report).splitlines()
    assert "GPU s" in heads
    assert line.split()[-2:] == ["7.25", "3.50"]
    assert "of the process, all comparisons: 4.00 GiB" in whole
