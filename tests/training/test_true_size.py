"""Training at the true sizes of SD 1.x, on random weights: what it takes in memory and time.

Each prints the peak of the process's memory and the seconds of a step; `-s` shows them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

pytest.importorskip("accelerate", reason="training needs the extra `train`")

from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel

from ldznet_core.checkpoint import load_head
from ldznet_core.unet import UNet, UNetConfig
from ldznet_core.unet.diffusers_keys import diffusers_config, to_diffusers

from .coloured import write_jsonl

STEPS = 20

needs_wait4 = pytest.mark.skipif(
    not hasattr(os, "wait4"), reason="what a process used is not told on this system"
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline of SD 1.x with random weights in half precision, 2.1 GB."""
    folder = tmp_path_factory.mktemp("sd1")
    parts = {
        "unet": (lambda: UNet(UNetConfig()), diffusers_config(UNetConfig())),
        "vae": (true_vae, {"scaling_factor": 0.18215}),
        "text_encoder": (true_text_encoder, {"num_attention_heads": 12}),
    }
    for name, (build, config) in parts.items():
        (folder / name).mkdir()
        with torch.device("meta"):
            network = build()
        state = random_state(network)
        if name == "unet":
            state = to_diffusers(state, UNetConfig())
        save_file(state, folder / name / "model.safetensors")
        (folder / name / "config.json").write_text(json.dumps(config))
    return folder


def true_vae() -> nn.Module:
    channels = (128, 256, 512, 512)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )


def true_text_encoder() -> nn.Module:
    config = CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        hidden_act="quick_gelu",
    )
    return CLIPTextModel(config)


def random_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Values that keep activations near 1: one random stretch, repeated, as drawing is slow."""
    drawn = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))

    def values(name: str, shape: torch.Size) -> torch.Tensor:
        if len(shape) < 2:
            return torch.full(shape, 0.0 if name.endswith("bias") else 1.0)
        count = shape.numel()
        return (
            drawn.repeat(-(-count // len(drawn)))[:count].reshape(shape) / shape[1:].numel() ** 0.5
        )

    return {
        name: values(name, each.shape).half()
        for name, each in network.state_dict().items()
        if each.is_floating_point()
    }


def trained(pipeline: Path, run: Path, words: str) -> float:
    """Train in a process of its own; the GB at its peak."""
    folder = write_jsonl(run / "data")
    command = [sys.executable, "-m", "ldznet_core", "train", "head", "--json"]
    command += ["--data", str(folder), "--model", str(pipeline), "--folder", str(run)]
    command += ["--dtype", "bfloat16", "--precision", "bf16", "--average", "0"]
    command += ["--questions", "1", "--budget-minutes", "60", *words.split()]
    with (run / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
    assert status == 0, (run / "said").read_text()[-3000:]
    (log,) = run.glob("*/log.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    rate = [line["steps_per_second"] for line in lines if "loss" in line][-1]
    peak = used.ru_maxrss * 1024 / 1e9
    print(
        f"\n{words}: {peak:.1f} GB at the peak, {1 / rate:.1f} s a step, "
        f"{used.ru_utime + used.ru_stime:.0f} s of CPU time in all"
    )
    return peak


@pytest.mark.slow
@needs_wait4
def test_our_head_learns_on_sd_1(pipeline: Path, tmp_path: Path) -> None:
    words = f"--kind compact --taps 6-13 --side 192 --batch 2 --steps {STEPS}"
    peak = trained(pipeline, tmp_path, words)
    head = load_head(tmp_path / "weights" / "head-compact")
    assert 16e6 < sum(each.numel() for each in head.parameters()) < 17e6
    assert head.config.family == "sd1"
    assert peak < 8


@pytest.mark.slow
@needs_wait4
def test_the_paper_s_head_learns_on_sd_1(pipeline: Path, tmp_path: Path) -> None:
    """AdamW of 925 million weights alone takes 15 GB."""
    free = int(next(line for line in memory_lines() if line.startswith("MemAvailable")).split()[1])
    if free * 1024 < 23e9:
        pytest.skip(f"needs 23 GB of free memory, {free * 1024 / 1e9:.0f} are free")
    words = f"--kind ldznet --taps 6-10 --side 128 --batch 1 --steps {STEPS} --checkpointing"
    peak = trained(pipeline, tmp_path, words)
    assert load_head(tmp_path / "weights" / "head-ldznet").config.family == "sd1"
    assert peak < 23


def memory_lines() -> list[str]:
    file = Path("/proc/meminfo")
    return file.read_text().splitlines() if file.is_file() else ["MemAvailable: 0 kB"]
