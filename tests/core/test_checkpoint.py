"""Heads on disk: what is written comes back, and what does not fit is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ldznet_core.checkpoint as checkpoint
from ldznet_core.checkpoint import (
    decode_config,
    encode_config,
    load_head,
    read_config,
    save_head,
)
from ldznet_core.errors import CheckpointError, InputError
from ldznet_core.head import HeadConfig, LDZNetHead
from ldznet_core.weights import read_weights, write_weights

from .tiny import HEAD_SIZES, compact_inputs, tiny_compact_head, tiny_head, tiny_inputs

CONFIG = HeadConfig(
    family="tiny",
    unet=HEAD_SIZES,
    taps=(6, 7),
    image_side=128,
    timestep=300.0,
    template="a {}.",
    mask_threshold=0.4,
    presence_threshold=0.6,
    training="500 scenes, seed 3",
)


@pytest.fixture(scope="module")
def head() -> LDZNetHead:
    return tiny_head()


@pytest.fixture
def saved(head: LDZNetHead, tmp_path: Path) -> Path:
    return save_head(head, tmp_path / "head", max_shard_bytes=None)[0]


def test_a_head_comes_back_bit_for_bit(head: LDZNetHead, tmp_path: Path) -> None:
    files = save_head(head, tmp_path / "head", max_shard_bytes=10 * 2**20)
    assert len(files) > 1
    loaded = load_head(tmp_path / "head")
    assert loaded.config == head.config
    assert not loaded.training
    inputs = tiny_inputs(head)
    assert torch.equal(loaded(*inputs), head(*inputs))


def test_a_compact_head_comes_back_bit_for_bit_too(tmp_path: Path) -> None:
    head = tiny_compact_head()
    save_head(head, tmp_path / "head")
    loaded = load_head(tmp_path / "head")
    assert loaded.config == head.config
    with torch.no_grad():
        assert torch.equal(loaded(*compact_inputs()), head(*compact_inputs()))


def test_a_half_head_is_computed_in_float32_unless_asked_otherwise(
    head: LDZNetHead, tmp_path: Path
) -> None:
    save_head(head, tmp_path / "head", dtype=torch.float16)
    assert {p.dtype for p in head.parameters()} == {torch.float32}
    assert {p.dtype for p in load_head(tmp_path / "head").parameters()} == {torch.float32}
    half = load_head(tmp_path / "head", dtype=torch.float16)
    assert {p.dtype for p in half.parameters()} == {torch.float16}


@pytest.mark.parametrize("source", ["training-free", None])
@pytest.mark.parametrize("device", ["quantum", "cuda:77"])
def test_a_device_that_is_not_there_is_refused(
    saved: Path, source: str | None, device: str
) -> None:
    with pytest.raises(InputError, match="expected a device of this machine, such as cpu, got"):
        load_head(source or saved, device=device)


def test_loading_draws_no_random_numbers(saved: Path) -> None:
    """Hosts draw theirs from the same source, and their pictures must not change."""
    before = torch.get_rng_state()
    load_head(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_head_can_be_trained_on(saved: Path) -> None:
    loaded = load_head(saved).train()
    loaded(*tiny_inputs(loaded)).mean().backward()
    assert all(p.grad is not None for p in loaded.parameters())


def test_the_configuration_is_read_without_the_weights(saved: Path, head: LDZNetHead) -> None:
    assert read_config(saved) == head.config


def test_a_configuration_survives_json() -> None:
    assert decode_config(encode_config(CONFIG)) == CONFIG
    assert json.loads(encode_config(CONFIG))["format"] == 1


def test_built_in_heads_go_by_their_names(
    monkeypatch: pytest.MonkeyPatch, saved: Path, head: LDZNetHead
) -> None:
    monkeypatch.setitem(checkpoint.BUILT_IN, "miniature", saved.with_name("head"))
    assert load_head("miniature").config == head.config


class TestRefusals:
    def test_an_unknown_name_is_answered_with_the_known_ones(self) -> None:
        with pytest.raises(
            CheckpointError, match="heads miniature-compact, miniature, got 'minature'"
        ):
            load_head("minature")

    @pytest.mark.parametrize("source", ["", ".", "nowhere/head.safetensors"])
    def test_a_file_that_is_not_there(self, source: str) -> None:
        with pytest.raises(CheckpointError, match=r"^expected .*: [^:]+$"):
            load_head(source)

    def test_a_pickle_is_sent_to_convert(self, tmp_path: Path) -> None:
        (tmp_path / "head.ckpt").write_bytes(b"\x80\x02}.")
        with pytest.raises(CheckpointError, match="run `ldznet convert`"):
            load_head(tmp_path / "head.ckpt")

    def test_weights_that_are_no_head(self, tmp_path: Path) -> None:
        save_file({"weight": torch.zeros(2)}, tmp_path / "vae.safetensors")
        for read in (load_head, read_config):
            with pytest.raises(CheckpointError, match="a head with its configuration"):
                read(tmp_path / "vae.safetensors")

    def test_missing_surplus_and_misshapen_weights_are_listed(self, saved: Path) -> None:
        state, metadata = read_weights(saved)
        del state["out.2.bias"]
        state["stray"] = torch.zeros(1)
        state["final.0.weight"] = torch.zeros(2, 1, 3, 3)
        write_weights(state, saved, metadata, None)
        expected = (
            r"1 missing \(out\.2\.bias\); 1 surplus \(stray\); 1 misshapen \(final\.0\.weight\)"
        )
        with pytest.raises(CheckpointError, match=expected):
            load_head(saved)

    def test_a_long_list_is_cut(self, saved: Path) -> None:
        _, metadata = read_weights(saved)
        write_weights({"stray": torch.zeros(1)}, saved, metadata, None)
        with pytest.raises(CheckpointError, match=r"760 missing \((\S+, ){5}\.\.\.\); 1 surplus"):
            load_head(saved)

    def test_a_newer_format_asks_for_an_update(self) -> None:
        text = encode_config(CONFIG).replace('"format": 1', '"format": 2')
        with pytest.raises(CheckpointError, match="got format 2: update ldznet"):
            decode_config(text)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "{}",
            '{"format": 1}',
            '{"format": 1, "family": "x", "taps": [], "unet": {"channel_mult": 3}}',
            encode_config(CONFIG).replace('"timestep": 300.0', '"timestep": "soon"'),
            encode_config(CONFIG).replace('"template"', '"tempalte"'),
            encode_config(CONFIG).replace('"kind": "ldznet"', '"kind": "unheard-of"'),
        ],
    )
    def test_a_damaged_configuration(self, text: str) -> None:
        with pytest.raises(CheckpointError, match="configuration of a head"):
            decode_config(text)
