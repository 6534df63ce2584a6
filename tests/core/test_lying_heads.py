"""Heads on disk that say what cannot be: refused in a sentence, before anything is built."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ldznet_core.checkpoint import decode_config, encode_config, load_head, save_head
from ldznet_core.errors import CheckpointError
from ldznet_core.head import HeadConfig
from ldznet_core.weights import read_weights, write_weights

from .tiny import HEAD_SIZES, tiny_head

SENTENCE = r"^expected (the configuration of a head|a head of format 1), got [^\n]{1,500}$"
CONFIG = HeadConfig(family="tiny", unet=HEAD_SIZES, image_side=64)


def told(**changes: Any) -> str:
    """The configuration as JSON with other values; those of the UNet begin with ``unet__``."""
    values = json.loads(encode_config(CONFIG))
    for name, value in changes.items():
        place, _, key = name.rpartition("__")
        (values[place] if place else values)[key] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    "changes",
    [
        {"unet__num_res_blocks": 10**9},
        {"unet__num_res_blocks": 0},
        {"unet__num_res_blocks": True},
        {"unet__num_res_blocks": 2.0},
        {"unet__transformer_levels": 10**9},
        {"unet__channel_mult": [1] * 100_000},
        {"unet__channel_mult": []},
        {"unet__channel_mult": [1, 2, 0]},
        {"unet__channel_mult": [1, 10**12]},
        {"unet__channel_mult": "1244"},
        {"unet__channel_mult": {"1": 1}},
        {"unet__model_channels": 10**12},
        {"unet__model_channels": -32},
        {"unet__model_channels": 33},
        {"unet__num_heads": 5},
        {"unet__num_heads": 0},
        {"unet__context_dim": 2**63},
        {"unet__in_channels": None},
        {"unet__depth": 3},
        {"unet": []},
        {"unet": None},
        {"image_side": 10**9},
        {"image_side": 0},
        {"image_side": "64"},
        {"image_side": 64.5},
        {"taps": [6, 10**9]},
        {"taps": [1] * 100_000},
        {"taps": [6.5]},
        {"taps": ["6"]},
        {"taps": 6},
        {"timestep": float("nan")},
        {"timestep": 10**400},
        {"mask_threshold": "high"},
        {"presence_threshold": float("nan")},
        {"family": ["tiny"]},
        {"training": {"steps": 3}},
        {"template": 5},
        {"positional_tables": ["shape"]},
        {"format": [1]},
        {"format": "1" * 10_000},
    ],
    ids=lambda changes: ", ".join(f"{name}={str(value)[:12]}" for name, value in changes.items()),
)
def test_a_lie_about_the_head_is_a_sentence_at_once(changes: dict[str, Any]) -> None:
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=SENTENCE):
        decode_config(told(**changes))
    assert time.perf_counter() - started < 5  # what it says could be built in no time at all


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format":' * 50_000, "9" * 100_000, "\ud800"])
def test_json_made_to_break_its_reader_is_a_sentence(text: str) -> None:
    with pytest.raises(CheckpointError, match="expected the configuration of a head"):
        decode_config(text)


def test_the_truth_is_believed() -> None:
    assert decode_config(told()) == CONFIG


class TestWeights:
    @pytest.fixture
    def saved(self, tmp_path: Path) -> Path:
        return save_head(tiny_head(), tmp_path / "head", max_shard_bytes=None)[0]

    def test_whole_numbers_are_no_weights(self, saved: Path) -> None:
        state, metadata = read_weights(saved)
        state["out.0.weight"] = torch.ones(32, dtype=torch.int16)
        write_weights(state, saved, metadata, None)
        with pytest.raises(CheckpointError, match=r"1 no floats \(out\.0\.weight\)"):
            load_head(saved)

    def test_names_are_short_and_printable_in_a_message(self, saved: Path) -> None:
        state, metadata = read_weights(saved)
        for name in ("clear\x1b[2Jscreen", "two\nlines", "x" * 10_000):
            state[name] = torch.zeros(1)
        write_weights(state, saved, metadata, None)
        with pytest.raises(CheckpointError) as caught:
            load_head(saved)
        message = str(caught.value)
        assert message.isprintable()
        assert len(message) < 1000
        assert r"'two\nlines'" in message
