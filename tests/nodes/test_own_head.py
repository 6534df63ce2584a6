"""Heads of users' own: they may read other blocks than the built-in ones, or none at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ldznet_core.checkpoint import save_head
from ldznet_core.head import CompactHead, HeadConfig, LDZNetHead
from ldznet_core.miniature import load_miniature

from .calling import call
from .loading import Pack
from .studio import guider, run

SCHEDULE = (800, 410, 100)
HEARD = "features: captured while sampling at t = 410"
PROBED = "features: from one extra pass (probe) at t = 400"
NOT_HEARD = "LD-ZNet Capture did not listen to block 15 (connect this head to it)"


@pytest.fixture
def own(pack: Pack, tmp_path: Path) -> Callable[..., Any]:
    """Makes a compact head for the miniature, with random weights, which reads these blocks."""

    def made(*taps: int) -> Any:
        torch.manual_seed(0)
        unet = load_miniature().unet.config
        config = HeadConfig(
            family="miniature", unet=unet, kind="compact", widths=(32, 32, 32), taps=taps
        )
        return managed(pack, CompactHead(config), tmp_path)

    return made


@pytest.fixture
def head(own: Callable[..., Any]) -> Any:
    """One that reads a block which built-in heads read, and one which they do not."""
    return own(6, 15)


@pytest.fixture
def plain_znet(pack: Pack, tmp_path: Path) -> Any:
    """The paper's head without taps, with random weights."""
    torch.manual_seed(0)
    unet = replace(load_miniature().unet.config, out_channels=1)
    return managed(pack, LDZNetHead(HeadConfig(family="miniature", unet=unet, taps=())), tmp_path)


def managed(pack: Pack, network: Any, folder: Path) -> Any:
    """A head as ComfyUI loads it from a file."""
    files = save_head(network, folder / "-".join(["head", *map(str, network.config.taps)]))
    return pack.module("nodes.managed_head").ManagedHead(files[0])


@pytest.fixture
def capture(nodes: dict[str, Any], loaded: SimpleNamespace) -> Callable[..., Any]:
    """The miniature's MODEL after one LDZNetCapture for each of these inputs, in their order."""

    def captured(*settings: dict[str, Any]) -> Any:
        model = loaded.model
        for each in settings:
            model = call(nodes["LDZNetCapture"], model=model, **each).model
        return model

    return captured


@pytest.fixture
def told(nodes: dict[str, Any], loaded: SimpleNamespace) -> Callable[..., Any]:
    """LDZNetSegment with a head on what a MODEL has sampled."""

    def answered(head: Any, samples: Any, source: str = "auto") -> SimpleNamespace:
        return call(
            nodes["LDZNetSegment"],
            head=head,
            model=loaded.model,
            clip=loaded.clip,
            samples=samples,
            phrases="a car\nthe sky",
            threshold=0.5,
            source=source,
        )

    return answered


def sampled(model: Any, clip: Any, seed: int = 0) -> dict[str, Any]:
    texts = [clip.encode_from_tokens(clip.tokenize(text)) for text in ("a red car", "")]
    made = guider(model, *([[text, {}]] for text in texts))
    return {"samples": run(made, SCHEDULE, size=(16, 16), seed=seed)}


def origin(answer: SimpleNamespace) -> str:
    """Where its features came from, in the report's words."""
    return str(answer.report.splitlines()[-1])


class TestConnected:
    def test_it_finds_its_blocks(
        self, capture: Any, told: Any, loaded: SimpleNamespace, head: Any
    ) -> None:
        samples = sampled(capture({"head": head}), loaded.clip)
        answer = told(head, samples, "sampling")
        assert [tuple(mask.shape) for mask in answer.masks] == [(1, 128, 128)] * 2
        assert origin(answer) == HEARD


class TestNotConnected:
    def test_auto_probes_and_says_why(
        self, capture: Any, told: Any, loaded: SimpleNamespace, head: Any
    ) -> None:
        samples = sampled(capture({}), loaded.clip, seed=1)
        answer, probed = told(head, samples), told(head, samples, "probe")
        assert origin(answer) == f"{PROBED}, because {NOT_HEARD}"
        assert torch.equal(answer.probabilities[0], probed.probabilities[0])

    def test_sampling_refuses_with_the_remedy(
        self,
        capture: Any,
        told: Any,
        loaded: SimpleNamespace,
        head: Any,
        input_error: type[Exception],
    ) -> None:
        samples = sampled(capture({}), loaded.clip, seed=1)
        with pytest.raises(input_error) as refusal:
            told(head, samples, "sampling")
        assert str(refusal.value) == (
            "expected features captured while this latent was sampled, got none, because "
            f"{NOT_HEARD}: choose the source auto or probe"
        )

    @pytest.mark.parametrize(
        ("taps", "named"), [((6, 1, 15), "blocks 1 and 15"), ((16, 15, 1), "blocks 1, 15 and 16")]
    )
    def test_each_block_that_is_missing_is_named(
        self,
        capture: Any,
        told: Any,
        loaded: SimpleNamespace,
        own: Any,
        taps: Sequence[int],
        named: str,
    ) -> None:
        samples = sampled(capture({}), loaded.clip, seed=1)
        assert f"did not listen to {named} (connect" in origin(told(own(*taps), samples))

    def test_blocks_that_built_in_heads_read_are_there(
        self, capture: Any, told: Any, loaded: SimpleNamespace, own: Any
    ) -> None:
        samples = sampled(capture({}), loaded.clip, seed=1)
        assert origin(told(own(7, 13), samples, "sampling")) == HEARD


class TestCaptureAfterCapture:
    @pytest.mark.parametrize("is_own_first", [True, False])
    def test_both_are_served(
        self,
        nodes: dict[str, Any],
        capture: Any,
        told: Any,
        loaded: SimpleNamespace,
        head: Any,
        is_own_first: bool,
    ) -> None:
        free = call(nodes["LDZNetLoadHead"], head_name="training-free").head
        settings: list[dict[str, Any]] = [{"head": head}, {"attention": True}]
        model = capture(*(settings if is_own_first else reversed(settings)))
        samples = sampled(model, loaded.clip, seed=2)
        assert origin(told(head, samples, "sampling")) == HEARD
        assert origin(told(free, samples, "sampling")) == HEARD.replace(
            ": ", ": attention "
        ).replace("410", "100")

    def test_two_heads_of_one_s_own_have_what_each_alone_would_have(
        self, capture: Any, told: Any, loaded: SimpleNamespace, own: Any
    ) -> None:
        heads = own(1, 15), own(2, 15)
        settings = [{"head": head} for head in heads]
        alone = [
            told(head, sampled(capture(setting), loaded.clip), "sampling")
            for head, setting in zip(heads, settings, strict=True)
        ]
        samples = sampled(capture(*settings), loaded.clip)
        for head, expected in zip(heads, alone, strict=True):
            answer = told(head, samples, "sampling")
            assert torch.equal(answer.probabilities[0], expected.probabilities[0])

    def test_the_picture_stays_the_same_bit_for_bit(
        self, capture: Any, loaded: SimpleNamespace, head: Any
    ) -> None:
        models = loaded.model, capture({"head": head}, {"attention": True})
        without, twice = (sampled(model, loaded.clip)["samples"] for model in models)
        assert torch.equal(twice, without)


class TestWithoutTaps:
    @pytest.mark.parametrize("is_captured", [True, False])
    def test_every_source_gives_the_same_masks(
        self,
        capture: Any,
        told: Any,
        loaded: SimpleNamespace,
        plain_znet: Any,
        is_captured: bool,
    ) -> None:
        model = capture({"head": plain_znet}) if is_captured else loaded.model
        samples = sampled(model, loaded.clip, seed=3 + is_captured)
        answers = [told(plain_znet, samples, source) for source in ("auto", "sampling", "probe")]
        for answer in answers:
            assert origin(answer) == "features: none, this head reads the latents alone"
            assert torch.equal(answer.probabilities[0], answers[0].probabilities[0])

    def test_a_compact_one_does_as_well(self, told: Any, loaded: SimpleNamespace, own: Any) -> None:
        answer = told(own(), sampled(loaded.model, loaded.clip, seed=5), "sampling")
        assert origin(answer) == "features: none, this head reads the latents alone"

    def test_no_pass_of_the_model_is_made(
        self, told: Any, loaded: SimpleNamespace, plain_znet: Any
    ) -> None:
        samples = sampled(loaded.model, loaded.clip, seed=3)
        passes: list[nn.Module] = []
        unet = loaded.model.model.diffusion_model
        watch = unet.time_embed.register_forward_hook(lambda module, *_: passes.append(module))
        try:
            told(plain_znet, samples, "sampling")
        finally:
            watch.remove()
        assert passes == []
